// Downloads one file over HTTP: resumed where it stopped, retried, verified by its hash, then
// renamed. Knows no hubs and no models. A file at `path` is always complete; `path.partial` is what
// has arrived so far.
import {
  type FileHandle,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  writeFile
} from 'node:fs/promises'
import { dirname } from 'node:path'
import { sleep, systemClock } from '../../base/clock.ts'
import { corrupt, toAppError, unavailable } from '../../base/errors.ts'
import { hashLike } from '../store/hash-file.ts'
import {
  BACKOFFS_MS,
  brokenOff,
  checkRoom,
  checkStatus,
  type HttpOptions,
  piecesOf,
  request
} from './http.ts'

export interface DownloadProgress {
  doneBytes: number
  totalBytes: number
}

export interface DownloadOptions extends HttpOptions {
  url: string
  /** Path of the verified file. */
  path: string
  /** Lower-case hex: a SHA-256, or the 40 digits of a git blob id. */
  hash: string
  sizeBytes: number
  headers?: Readonly<Record<string, string>>
  onprogress?: ((progress: DownloadProgress) => void) | undefined
}

/** A server that sends only a few bytes per connection must not keep us busy for ever. */
const MAX_TRIES = 200

/** @throws AppError DENIED, NOT_FOUND, CORRUPT (wrong bytes), BUSY, UNAVAILABLE, CANCELLED */
export async function downloadFile(options: DownloadOptions): Promise<void> {
  const { path, sizeBytes, hash, signal } = options
  const { clock = systemClock, backoffsMs = BACKOFFS_MS, freeBytes = systemFreeBytes } = options
  const partial = `${path}.partial`
  await mkdir(dirname(path), { recursive: true })
  const missing = sizeBytes - (await sizeOrZero(partial))
  checkRoom(path, missing, await freeBytes(dirname(path)))
  if (missing < 0) await forget(partial)
  let failures = 0
  let resumed = (await sizeOrZero(partial)) > 0
  let restarted = false
  for (let tries = 1; ; tries++) {
    const before = await sizeOrZero(partial)
    try {
      if (before !== sizeBytes) await fetchRest(options, partial, before)
      if ((await hashLike(hash, partial, signal)) === hash) break
      await forget(partial)
      // The resumed part may be of another version: try once more from the start.
      if (!resumed || restarted) {
        throw corrupt(`'${options.url}' gave other bytes: their hash is not ${hash}`)
      }
      resumed = false
      restarted = true
    } catch (error) {
      const failure = toAppError(error)
      if (failure.code === 'CORRUPT') await forget(partial)
      if (!failure.retryable || tries >= MAX_TRIES) throw failure
      failures = (await sizeOrZero(partial)) > before ? 1 : failures + 1
      const wait = failure.retryAfterMs ?? backoffsMs[failures - 1]
      if (wait === undefined || failures > backoffsMs.length) throw failure
      await sleep(wait, { clock, ...(signal ? { signal } : {}) })
      resumed ||= (await sizeOrZero(partial)) > 0
    }
  }
  await rename(partial, path)
  await rm(`${partial}.etag`, { force: true })
}

async function fetchRest(options: DownloadOptions, partial: string, have: number): Promise<void> {
  const { url, sizeBytes, signal, clock = systemClock } = options
  const abort = new AbortController()
  const onabort = (): void => abort.abort()
  signal?.addEventListener('abort', onabort, { once: true })
  try {
    const etag = have > 0 ? await readFile(`${partial}.etag`, 'utf8').catch(() => '') : ''
    const headers: Record<string, string> = {
      ...options.headers,
      'accept-encoding': 'identity',
      ...(have > 0 ? { range: `bytes=${have}-` } : {}),
      ...(etag === '' ? {} : { 'if-range': etag })
    }
    const response = await request(url, { headers }, abort, options)
    if (have > 0 && response.status === 416) {
      await forget(partial)
      throw unavailable(`'${url}' has no such range any more`)
    }
    checkStatus(response, url, clock)
    const start = startOf(response, have, sizeBytes, url)
    await saveEtag(partial, response.headers.get('etag'))
    const file = await open(partial, start === 0 ? 'w' : 'r+')
    try {
      const at = await receive(response, file, start, options)
      if (at !== sizeBytes) throw unavailable(`'${url}' broke off at ${at} of ${sizeBytes} bytes`)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw brokenOff(error, url, signal)
  } finally {
    signal?.removeEventListener('abort', onabort)
    abort.abort()
  }
}

/** Writes the body from `at` on; returns the new end. */
async function receive(
  response: Response,
  file: FileHandle,
  at: number,
  options: DownloadOptions
): Promise<number> {
  const { url, sizeBytes } = options
  for await (const value of piecesOf(response, options)) {
    if (at + value.byteLength > sizeBytes) {
      throw corrupt(`'${url}' gave more than the ${sizeBytes} bytes that were promised`)
    }
    await file.write(value, 0, value.byteLength, at)
    at += value.byteLength
    options.onprogress?.({ doneBytes: at, totalBytes: sizeBytes })
  }
  return at
}

/** Where the body starts: after what we have, or at 0 if the server sends the whole file. */
function startOf(response: Response, have: number, sizeBytes: number, url: string): number {
  if (response.status === 200) {
    const length = response.headers.get('content-length')
    if (length !== null && Number(length) !== sizeBytes) {
      throw corrupt(`'${url}' has ${length} bytes where ${sizeBytes} were promised`)
    }
    return 0
  }
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
  if (!range || Number(range[1]) !== have || (range[2] !== '*' && Number(range[2]) !== sizeBytes)) {
    throw corrupt(`'${url}' gave another range than was asked for`)
  }
  return have
}

/** Only a strong ETag guarantees that the rest belongs to what we have. */
async function saveEtag(partial: string, etag: string | null): Promise<void> {
  const isStrong = etag !== null && etag.startsWith('"') && etag.length <= 512
  if (isStrong) await writeFile(`${partial}.etag`, etag)
  else await rm(`${partial}.etag`, { force: true })
}

async function forget(partial: string): Promise<void> {
  await rm(partial, { force: true })
  await rm(`${partial}.etag`, { force: true })
}

async function sizeOrZero(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0
}

export async function systemFreeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
