// A model that is known only from peers: found by its name or content id, and checked against what
// they claimed. repo.ts calls it if the hub is silent. Peers' claims are checked before they become
// a path.
import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type AppError, corrupt, notFound } from '../../base/errors.ts'
import { type Log, silentLog } from '../../base/log.ts'
import type { ListedFile } from './hub-tree.ts'
import type { ModelPeers, NamedWeights } from './model-peers.ts'
import { SMALL_FILES } from './repo-files.ts'
import { type RepoName, repoText } from './repo-name.ts'
import { recordPath, type RepoRecord, writeRecord } from './repo-record.ts'

/**
 * Owner of repositories that are on no hub: OWNER/CONTENT-ID is where a model named only by its id
 * is kept.
 */
const OWNER = 'content-id'
const ID = /^[0-9a-f]{64}$/
const WEIGHTS = /^[\w.-]{1,200}\.(?:gguf|safetensors)$/
/** Size limit of JSON files and templates; the tokenizer of a 256k vocabulary has 33 MB. */
export const MAX_SMALL_BYTES: number = 2 ** 26
const MAX_WEIGHT_FILES = 1024
/** As in hub-tree.ts. */
const MAX_SIZE = 2 ** 40

/** The repository name for a content id, or undefined if `word` is none. */
export function contentIdName(word: string): RepoName | undefined {
  return ID.test(word) ? { repo: `${OWNER}/${word}`, revision: 'main', pick: undefined } : undefined
}

/** The content id, hex, in a name made by contentIdName(); undefined for other names. */
export function contentIdIn(name: RepoName): string | undefined {
  const [owner, id = ''] = name.repo.split('/')
  return owner === OWNER && ID.test(id) ? id : undefined
}

/** The word under which peers know a model, whether it is on a hub or not. */
export function wordOf(name: RepoName): string {
  return contentIdIn(name) ?? repoText(name)
}

export function unknownId(name: RepoName): AppError {
  return notFound(`No server was found of the model with content id ${wordOf(name)}`, {
    hint: 'Look at --bootstrap and --swarm, or name the model by its hub or file'
  })
}

export interface ClaimedModel {
  readonly record: RepoRecord
  readonly claimed: NamedWeights
}

/** What peers say about a name; undefined if nobody knows it. @throws AppError CORRUPT */
export async function askPeersFor(
  name: RepoName,
  peers: ModelPeers,
  options: { signal?: AbortSignal | undefined; log?: Log | undefined }
): Promise<ClaimedModel | undefined> {
  const { signal, log = silentLog } = options
  const word = wordOf(name)
  const claimed = await peers.lookUp(word, signal)
  if (!claimed) return undefined
  const record = recordOf(name, claimed)
  const { vouchers } = claimed
  const many =
    vouchers === 0
      ? 'servers that have it from others'
      : vouchers === 1
        ? 'one server'
        : `${vouchers} servers`
  log.warn(`'${word}' is taken for the model ${claimed.id} on the word of ${many}`)
  return { record, claimed }
}

/** @throws AppError CORRUPT for names and sizes that no model has */
function recordOf(name: RepoName, claimed: NamedWeights): RepoRecord {
  const { kind, small, weights } = claimed
  const isGood =
    weights.length > 0 &&
    weights.length <= MAX_WEIGHT_FILES &&
    weights.every(({ path, sizeBytes }) => WEIGHTS.test(path) && sizeBytes <= MAX_SIZE) &&
    small.every(({ path, sizeBytes }) => SMALL_FILES.includes(path) && sizeBytes <= MAX_SMALL_BYTES)
  if (isGood) return { name, kind, small, weights, isUnverified: true }
  throw corrupt(`'${wordOf(name)}' cannot be used: what peers say of it is no model`)
}

/** Fetches a small file from any peer that has it, and checks its hash. False if nobody has it. */
export async function fetchFromPeers(
  file: ListedFile,
  path: string,
  peers: ModelPeers,
  word: string,
  signal: AbortSignal | undefined
): Promise<boolean> {
  const bytes = await peers.readFile(file, word, signal)
  if (!bytes) return false
  const aside = `${path}.${randomUUID()}`
  await mkdir(dirname(path), { recursive: true })
  await writeFile(aside, bytes)
  await rename(aside, path)
  return true
}

/**
 * Compares the content id that was computed with the one in the name or the one that peers claimed.
 * Then remembers it for this name.
 * @throws AppError CORRUPT
 */
export async function confirmClaimed(
  cacheDir: string,
  record: RepoRecord,
  claimed: string | undefined,
  id: string
): Promise<void> {
  const { name } = record
  const wanted = contentIdIn(name) ?? claimed
  if (wanted === undefined || wanted === id) {
    if (claimed !== undefined) await writeRecord(cacheDir, record)
    return
  }
  await rm(recordPath(cacheDir, name), { force: true })
  throw corrupt(`'${wordOf(name)}' is not what peers said: it is the model ${id}, not ${wanted}`, {
    hint: 'They cannot be believed: use a hub, or a swarm whose members you know'
  })
}
