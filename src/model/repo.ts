// A model of a hub's repository, as far as it must be here to be opened: small files and the headers of its
// weights. The rest comes with Model.ensure(), through the fetcher that is handed out.
// resolve.ts calls it; hub-tree.ts lists, repo-files.ts chooses, repo-record.ts remembers for next time.
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { corrupt, denied, toAppError } from '../base/errors.ts'
import { silentLog } from '../base/log.ts'
import type { RangeFetcher } from './create-model.ts'
import { downloadFile } from './download.ts'
import { inHubCache } from './fetch-file.ts'
import type { FetchOptions } from './fetch-file.ts'
import { fetchHeader, type FetchHeaderOptions } from './fetch-header.ts'
import type { RemoteFile } from './fetch-ranges.ts'
import { withFileLock } from './file-lock.ts'
import { hubEndpoint, hubHeaders, hubUrl } from './hub.ts'
import { listRepo, type ListedFile } from './hub-tree.ts'
import type { HttpOptions } from './http.ts'
import { readJsonObject } from './json-file.ts'
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
import type { ModelLocation } from './types.ts'

export interface RepoOptions extends FetchOptions {
  /** Most bytes that the cache's models may take together. Default: what the disk has. */
  diskBytes?: number | undefined
  /** Passed on to fetchRanges: what tests must make small. */
  ranges?: Omit<FetchHeaderOptions, keyof HttpOptions>
  /** Asks nobody what the repository holds now: what was found out before must do. */
  isOffline?: boolean
}

export interface FoundModel {
  readonly location: ModelLocation
  /** What Model.ensure() fetches through; undefined when all is here. */
  readonly fetcher?: RangeFetcher | undefined
}

/** Of JSON and templates; a tokenizer of 256k tokens has 33 MB. */
const MAX_SMALL_BYTES = 2 ** 26
/** Headers that are fetched at once. */
const HEADERS = 8
/** A hub that is known not to answer is not waited for when there is something to go on with. */
const KNOWN_TIMEOUT_MS = 4000

/**
 * @throws AppError NOT_FOUND, DENIED (gated), BAD_INPUT (several models), CORRUPT, BUSY, UNAVAILABLE,
 * CANCELLED
 */
export async function openRepo(name: RepoName, options: RepoOptions): Promise<FoundModel> {
  const { cacheDir, clock, signal, log = silentLog } = options
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

/** What the hub says now, or what it said before when it does not answer. */
async function currentRecord(name: RepoName, options: RepoOptions): Promise<RepoRecord> {
  const { cacheDir, log = silentLog } = options
  const known = await readRecord(cacheDir, name)
  if (known && options.isOffline) return known
  const patience = known
    ? { impatient: true, answerTimeoutMs: KNOWN_TIMEOUT_MS, backoffsMs: [] }
    : {}
  try {
    const record = await lookUp(name, {
      ...options,
      download: { ...patience, ...options.download }
    })
    await writeRecord(cacheDir, record)
    return record
  } catch (error) {
    const failure = toAppError(error)
    if (!known || !isSilence(failure.code)) throw failure
    log.info(`The hub does not answer; '${repoText(name)}' is taken as it was known`)
    log.debug(failure.message)
    return known
  }
}

export function isSilence(code: string): boolean {
  return code === 'UNAVAILABLE' || code === 'TIMEOUT' || code === 'BUSY'
}

async function lookUp(name: RepoName, options: RepoOptions): Promise<RepoRecord> {
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

/** Returns the folder that the small files lie in. */
async function fetchSmall(
  name: RepoName,
  small: readonly ListedFile[],
  options: RepoOptions
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

/** A whole file, verified, unless it is there. */
async function fetchOnce(
  name: RepoName,
  file: ListedFile,
  path: string,
  options: RepoOptions
): Promise<void> {
  const { sizeBytes, hash } = file
  const found = await stat(path).catch(() => undefined)
  if (found?.size === sizeBytes) return
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

async function prepare(record: RepoRecord, options: RepoOptions): Promise<FoundModel> {
  const { name, kind } = record
  const paths: string[] = kind === 'folder' ? [await fetchSmall(name, record.small, options)] : []
  const remotes: RemoteFile[] = []
  for (const file of record.weights) {
    const elsewhere = await inHubCache([name.repo], file.hash, file.sizeBytes, options)
    const path = elsewhere ?? weightPath(options.cacheDir, file)
    paths.push(path)
    if (elsewhere !== undefined) continue
    // A hub tells the SHA-256 of large files alone; a small one is fetched whole and hashed here.
    if (file.hash.length === 64) remotes.push(remoteOf(name, file, path, options))
    else await fetchOnce(name, file, path, options)
  }
  const ranges = {
    ...httpOptions(options),
    ...options.ranges,
    ...(options.log ? { log: options.log } : {})
  }
  const { cacheDir, diskBytes } = options
  await eachAtOnce(remotes, HEADERS, (remote) =>
    fetchHeader(remote, kind === 'gguf' ? 'gguf' : 'safetensors', ranges)
  )
  const what = repoText(name)
  const fetcher = createFetcher(remotes, { ...ranges, cacheDir, diskBytes, what })
  return { location: { kind, paths }, fetcher }
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

/** Runs `work` for all items, `limit` at a time; after a failure none is begun, and it is thrown. */
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
