// A model of a hub's repository, as far as it is needed to open it: small files and the headers of
// its weights. The rest is fetched by Model.ensure(), through the returned fetcher. resolve.ts
// calls it; hub-tree.ts lists, repo-files.ts chooses, repo-record.ts remembers for next time.
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { corrupt, denied, toAppError, unavailable } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { isSilence } from './bring-chunks.ts'
import type { HubState } from './fetch-options.ts'
import type { RangeFetcher } from '../create-model.ts'
import { downloadFile } from './download.ts'
import { inHubCache } from './fetch-file.ts'
import type { FetchOptions } from './fetch-file.ts'
import { fetchHeader, type FetchHeaderOptions } from './fetch-header.ts'
import type { RemoteFile } from './fetch-options.ts'
import { fileWord } from '../store/chunk-map.ts'
import { withFileLock } from '../../base/files/file-lock.ts'
import {
  confirmClaimed,
  contentIdIn,
  fetchFromPeers,
  askPeersFor,
  MAX_SMALL_BYTES,
  unknownId,
  wordOf
} from './unverified-model.ts'
import { hubEndpoint, hubHeaders, hubUrl } from './hub.ts'
import { listRepo, type ListedFile } from './hub-tree.ts'
import type { HttpOptions } from './http.ts'
import { readJsonObject } from '../formats/json-file.ts'
import type { NamedWeights } from './model-peers.ts'
import { createFetcher } from './remote-files.ts'
import { chooseFiles, INDEX, SMALL_FILES, weightNames } from './repo-files.ts'
import { type RepoName, repoText } from './repo-name.ts'
import {
  readRecord,
  recordPath,
  type RepoRecord,
  smallFolder,
  weightPath,
  writeRecord
} from './repo-record.ts'
import type { ModelLocation } from '../types.ts'

export interface RepoOptions extends FetchOptions {
  /** Most bytes of all models in the cache. Default: what the disk has. */
  diskBytes?: number | undefined
  /** Passed to fetchRanges; tests use smaller sizes. */
  ranges?: Omit<FetchHeaderOptions, keyof HttpOptions>
  /** Asks nobody what the repository contains now; uses what is known. */
  isOffline?: boolean
  /**
   * Roots of manifests, hex, as `petals verify` prints them: peers that have one of them are
   * believed.
   */
  roots?: readonly string[] | undefined
}

export interface FoundModel {
  readonly location: ModelLocation
  /** What Model.ensure() fetches through; undefined if everything is here. */
  readonly fetcher?: RangeFetcher | undefined
  /** The word under which others may know it: owner/name. */
  readonly word?: string | undefined
  /** Its content is known from peers and not from a hub. */
  readonly isUnverified?: boolean
  /**
   * Must be called with the computed content id of a model whose name or files are known from
   * peers.
   * @throws AppError CORRUPT if it is not the id that was asked for or claimed
   */
  readonly confirm?: ((id: string) => Promise<void>) | undefined
}

/** A repository's options, with whether its hub answers. */
type OneRepoOptions = RepoOptions & { reach: HubState }

/** Headers that are fetched concurrently. */
const HEADERS = 8
/** Wait for a hub that has been silent, ms, if we can continue without it. */
const KNOWN_TIMEOUT_MS = 4000

/**
 * @throws AppError NOT_FOUND, DENIED (gated), BAD_INPUT (several models), CORRUPT, BUSY,
 * UNAVAILABLE, CANCELLED
 */
export async function openRepo(name: RepoName, given: RepoOptions): Promise<FoundModel> {
  const { cacheDir, clock, signal, log = silentLog } = given
  const isNone = contentIdIn(name) !== undefined
  const options: OneRepoOptions = { ...given, reach: { isSilent: isNone, isNone } }
  const lock = `${recordPath(cacheDir, name)}.lock`
  await mkdir(dirname(lock), { recursive: true })
  try {
    return await withFileLock(
      lock,
      async () => await prepare(await currentRecord(name, options), options),
      {
        ...(clock ? { clock } : {}),
        signal,
        onwait: () => log.info(`Another process looks at '${repoText(name)}'; waiting for it`)
      }
    )
  } catch (error) {
    const failure = toAppError(error)
    if (failure.code !== 'DENIED') throw failure
    const page = `${hubEndpoint(options.hub)}/${name.repo}`
    throw denied(`'${name.repo}' is gated: the hub does not give it to ${whom(options)}`, {
      hint: `Accept its licence at ${page}, then set HF_TOKEN to a token of that account`,
      cause: failure
    })
  }
}

function whom(options: RepoOptions): string {
  return options.hub?.token ? 'the holder of this HF_TOKEN' : 'everybody, and HF_TOKEN is not set'
}

/** What the hub says now; if it is silent, what was known before or what peers know. */
async function currentRecord(
  name: RepoName,
  options: OneRepoOptions
): Promise<{ record: RepoRecord; claimed?: NamedWeights }> {
  const { cacheDir, peers, reach, log = silentLog } = options
  const known = await readRecord(cacheDir, name)
  if (known && (options.isOffline || reach.isNone)) return { record: known }
  if (reach.isNone) {
    const claimed = peers && (await askPeersFor(name, peers, options))
    if (!claimed) throw unknownId(name)
    return claimed
  }
  try {
    return { record: await lookUp(name, options, known !== undefined || peers !== undefined) }
  } catch (error) {
    const failure = toAppError(error)
    if (!isSilence(failure.code)) throw failure
    log.debug(failure.message)
    reach.isSilent = true
    if (known) {
      log.info(`The hub does not answer; '${repoText(name)}' is taken as it was known`)
      return { record: known }
    }
    const claimed = peers && (await askPeersFor(name, peers, options))
    if (claimed) return claimed
    // If nobody else knows it, the hub is all there is and is given more time.
    if (peers) return { record: await lookUp(name, options, false) }
    throw failure
  }
}

async function lookUp(
  name: RepoName,
  given: OneRepoOptions,
  isImpatient: boolean
): Promise<RepoRecord> {
  const patience = isImpatient
    ? { impatient: true, answerTimeoutMs: KNOWN_TIMEOUT_MS, backoffsMs: [] }
    : {}
  const download = { ...patience, ...given.download }
  const record = await askHub(name, {
    ...given,
    download,
    reach: { ...given.reach, isSilent: false }
  })
  given.reach.isSilent = false
  await writeRecord(given.cacheDir, record)
  return record
}

async function askHub(name: RepoName, options: OneRepoOptions): Promise<RepoRecord> {
  const { repo, revision, pick } = name
  const files = await listRepo(repo, revision, { ...httpOptions(options), hub: options.hub })
  const choice = chooseFiles(files, repo, pick)
  if (choice.kind === 'gguf') return { name, kind: 'gguf', small: [], weights: choice.files }
  const small = files.filter(({ path }) => SMALL_FILES.includes(path))
  const folder = await fetchSmall(name, small, options)
  const paths = files.map(({ path }) => path)
  const names = weightNames(paths, repo, () => readJsonObject(join(folder, INDEX))['weight_map'])
  const weights = names.flatMap((each) => files.filter(({ path }) => path === each))
  return { name, kind: 'folder', small, weights }
}

/** Returns the folder of the small files. */
async function fetchSmall(
  name: RepoName,
  small: readonly ListedFile[],
  options: OneRepoOptions
): Promise<string> {
  const folder = smallFolder(options.cacheDir, name.repo, small)
  for (const file of small) {
    if (file.sizeBytes > MAX_SMALL_BYTES) {
      throw corrupt(`'${name.repo}' cannot be used: '${file.path}' has ${file.sizeBytes} bytes`)
    }
    await fetchOnce(name, file, join(folder, file.path), options)
  }
  return folder
}

/** Fetches and verifies a whole file, unless it is there. */
async function fetchOnce(
  name: RepoName,
  file: ListedFile,
  path: string,
  options: OneRepoOptions
): Promise<void> {
  const { sizeBytes, hash } = file
  const { peers, reach, signal } = options
  const found = await stat(path).catch(() => undefined)
  if (found?.size === sizeBytes) return
  if (reach.isSilent && peers && (await fetchFromPeers(file, path, peers, wordOf(name), signal)))
    return
  if (reach.isNone) throw unavailable(`'${file.path}' cannot be fetched: no peer has it now`)
  const url = hubUrl(name.repo, name.revision, file.path, options.hub)
  await downloadFile({
    url,
    path,
    hash,
    sizeBytes,
    headers: hubHeaders(options.hub),
    ...httpOptions(options)
  })
}

async function prepare(
  { record, claimed }: { record: RepoRecord; claimed?: NamedWeights },
  options: OneRepoOptions
): Promise<FoundModel> {
  const { name, kind } = record
  const { cacheDir, diskBytes, peers, reach } = options
  const paths: string[] = kind === 'folder' ? [await fetchSmall(name, record.small, options)] : []
  const remotes: RemoteFile[] = []
  for (const file of record.weights) {
    const elsewhere = await inHubCache([name.repo], file.hash, file.sizeBytes, options)
    const path = elsewhere ?? weightPath(options.cacheDir, file)
    paths.push(path)
    if (elsewhere !== undefined) continue
    // A hub tells the SHA-256 only of large files; a small one is fetched whole and hashed here.
    if (file.hash.length === 64) remotes.push(remoteOf(name, file, path, options))
    else await fetchOnce(name, file, path, options)
  }
  const ranges = {
    ...httpOptions(options),
    ...options.ranges,
    ...(options.log ? { log: options.log } : {}),
    cacheDir,
    peers,
    reach,
    roots: options.roots,
    word: fileWord(record.weights[0]?.hash ?? ''),
    told: { isTold: claimed !== undefined }
  }
  await eachAtOnce(remotes, HEADERS, (remote) =>
    fetchHeader(remote, kind === 'gguf' ? 'gguf' : 'safetensors', { ...ranges, hubFirst: true })
  )
  const what = repoText(name)
  const fetcher = createFetcher(remotes, { ...ranges, cacheDir, diskBytes, what })
  const confirm = (id: string): Promise<void> => confirmClaimed(cacheDir, record, claimed?.id, id)
  const { isUnverified = false } = record
  return { location: { kind, paths }, fetcher, word: wordOf(name), isUnverified, confirm }
}

function remoteOf(
  name: RepoName,
  file: ListedFile,
  path: string,
  options: RepoOptions
): RemoteFile {
  const url = hubUrl(name.repo, name.revision, file.path, options.hub)
  const { sizeBytes, hash } = file
  return { url, headers: hubHeaders(options.hub), sizeBytes, sha256: hash, path }
}

function httpOptions({ fetch, clock, signal, download }: RepoOptions): HttpOptions {
  return { ...(fetch ? { fetch } : {}), ...(clock ? { clock } : {}), signal, ...download }
}

/**
 * Runs `work` for all items, `limit` at a time. After a failure none is started, and the failure is
 * thrown.
 */
async function eachAtOnce<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>
): Promise<void> {
  const next = items.values()
  let failure: { error: unknown } | undefined
  const run = async (): Promise<void> => {
    for (const item of next) {
      if (failure) return
      try {
        await work(item)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, run))
  if (failure) throw failure.error
}
