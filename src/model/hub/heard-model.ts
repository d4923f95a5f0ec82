// A model that no hub tells of: found by its name or content id on the word of peers, and held to
// it. repo.ts calls it when the hub is silent. What peers say is checked before it names any path
// here.
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
 * A repository of no hub: OWNER/CONTENT-ID, where a model that was named by its id alone is kept.
 */
const OWNER = 'content-id'
const ID = /^[0-9a-f]{64}$/
const WEIGHTS = /^[\w.-]{1,200}\.(?:gguf|safetensors)$/
/** Of JSON and templates; a tokenizer of 256k tokens has 33 MB. */
export const MAX_SMALL_BYTES: number = 2 ** 26
const MAX_WEIGHT_FILES = 1024
/** As hub-tree.ts. */
const MAX_SIZE = 2 ** 40

/** The name that a model has by its content id, or undefined when `word` is none. */
export function contentIdName(word: string): RepoName | undefined {
  return ID.test(word) ? { repo: `${OWNER}/${word}`, revision: 'main', pick: undefined } : undefined
}

/** Hex of the content id in a name of contentIdName(); undefined in others. */
export function contentIdIn(name: RepoName): string | undefined {
  const [owner, id = ''] = name.repo.split('/')
  return owner === OWNER && ID.test(id) ? id : undefined
}

/** What peers call a model of a hub, or of none. */
export function wordOf(name: RepoName): string {
  return contentIdIn(name) ?? repoText(name)
}

export function unknownId(name: RepoName): AppError {
  return notFound(`No server was found of the model with content id ${wordOf(name)}`, {
    hint: 'Look at --bootstrap and --swarm, or name the model by its hub or file'
  })
}

export interface HeardModel {
  readonly record: RepoRecord
  readonly heard: NamedWeights
}

/** What peers say of a name; undefined when nobody knows it. @throws AppError CORRUPT */
export async function hearOf(
  name: RepoName,
  peers: ModelPeers,
  options: { signal?: AbortSignal | undefined; log?: Log | undefined }
): Promise<HeardModel | undefined> {
  const { signal, log = silentLog } = options
  const word = wordOf(name)
  const heard = await peers.lookUp(word, signal)
  if (!heard) return undefined
  const record = recordOf(name, heard)
  const { vouchers } = heard
  const many =
    vouchers === 0
      ? 'servers that have it from others'
      : vouchers === 1
        ? 'one server'
        : `${vouchers} servers`
  log.warn(`'${word}' is taken for the model ${heard.id} on the word of ${many}`)
  return { record, heard }
}

/** @throws AppError CORRUPT for names and sizes that no model has */
function recordOf(name: RepoName, heard: NamedWeights): RepoRecord {
  const { kind, small, weights } = heard
  const isGood =
    weights.length > 0 &&
    weights.length <= MAX_WEIGHT_FILES &&
    weights.every(({ path, sizeBytes }) => WEIGHTS.test(path) && sizeBytes <= MAX_SIZE) &&
    small.every(({ path, sizeBytes }) => SMALL_FILES.includes(path) && sizeBytes <= MAX_SMALL_BYTES)
  if (isGood) return { name, kind, small, weights, isHeard: true }
  throw corrupt(`'${wordOf(name)}' cannot be used: what peers say of it is no model`)
}

/** A whole small file from whichever peer has it; its hash was checked. False: nobody has it. */
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
 * Holds what was found to what it must be: the id in its name, or the one that peers claimed. Then
 * it is remembered as what the name stands for.
 * @throws AppError CORRUPT
 */
export async function confirmHeard(
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
