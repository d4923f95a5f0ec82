// One file over HTTP to one path: resumed where it broke off, retried, verified by its SHA-256, then renamed.
// Knows no hubs and no models. What lies at `path` is always whole; `path.partial` is what came so far.
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
import { formatBytes } from '../base/bytes.ts'
import { type Clock, deadline, sleep, systemClock } from '../base/clock.ts'
import {
  AppError,
  busy,
  cancelled,
  corrupt,
  denied,
  notFound,
  toAppError,
  unavailable
} from '../base/errors.ts'
import { sha256File } from './hash-file.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface DownloadProgress {
  doneBytes: number
  totalBytes: number
}

export interface DownloadOptions {
  url: string
  /** Where the verified file goes. */
  path: string
  /** Lower-case hex. */
  sha256: string
  sizeBytes: number
  headers?: Readonly<Record<string, string>>
  fetch?: Fetch
  clock?: Clock
  signal?: AbortSignal | undefined
  onprogress?: ((progress: DownloadProgress) => void) | undefined
  /** Waits before tries that bring nothing; the last is followed by giving up. */
  backoffsMs?: readonly number[]
  /** Longest wait for the head of an answer. Default 10,000 ms. */
  answerTimeoutMs?: number
  /** Longest silence within a body. Default 30,000 ms. */
  idleTimeoutMs?: number
  /** Gives up at once when nothing answers at all: there is another source. Default false. */
  impatient?: boolean
  /** Free space of a folder's disk in bytes. Default: the system's word. */
  freeBytes?: (folder: string) => Promise<number>
}

const BACKOFFS_MS: readonly number[] = [500, 1000, 2000, 4000, 8000]
/** A server that hands out a few bytes a connection must not keep us for ever. */
const MAX_TRIES = 200
/** A server that asks for more patience than this is told of to the user. */
const MAX_RETRY_AFTER_MS = 60_000
/** Trying again cannot help against these. */
const DISK_ERRORS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS', 'EIO'])
/** Room that is left to others on the disk. */
const SPARE_BYTES = 64 * 2 ** 20

/**
 * @throws AppError DENIED, NOT_FOUND, CORRUPT (other bytes than promised), BUSY, UNAVAILABLE, CANCELLED
 */
export async function downloadFile(options: DownloadOptions): Promise<void> {
  const { path, sizeBytes, sha256, signal } = options
  const { clock = systemClock, backoffsMs = BACKOFFS_MS, freeBytes = systemFreeBytes } = options
  const partial = `${path}.partial`
  await mkdir(dirname(path), { recursive: true })
  const missing = sizeBytes - (await sizeOrZero(partial))
  const free = await freeBytes(dirname(path))
  if (free < missing + SPARE_BYTES) {
    throw unavailable(
      `'${path}' cannot be downloaded: ${formatBytes(missing)} are needed, the disk has ${formatBytes(free)}`,
      { hint: 'Free some space, or set PETALS_HOME to a folder on another disk', retryable: false }
    )
  }
  if (missing < 0) await forget(partial)
  let failures = 0
  let resumed = (await sizeOrZero(partial)) > 0
  let restarted = false
  for (let tries = 1; ; tries++) {
    const before = await sizeOrZero(partial)
    try {
      if (before !== sizeBytes) await fetchRest(options, partial, before)
      if ((await sha256File(partial, signal)) === sha256) break
      await forget(partial)
      // What was resumed may have been begun from other bytes: once more, from the start.
      if (!resumed || restarted) {
        throw corrupt(`'${options.url}' gave other bytes: their SHA-256 is not ${sha256}`)
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
  const { answerTimeoutMs = 10_000 } = options
  const request = new AbortController()
  const onabort = (): void => request.abort()
  signal?.addEventListener('abort', onabort, { once: true })
  try {
    const etag = have > 0 ? await readFile(`${partial}.etag`, 'utf8').catch(() => '') : ''
    const headers: Record<string, string> = {
      ...options.headers,
      'accept-encoding': 'identity',
      ...(have > 0 ? { range: `bytes=${have}-` } : {}),
      ...(etag === '' ? {} : { 'if-range': etag })
    }
    const send = options.fetch ?? fetch
    let response: Response
    try {
      const pending = send(url, { headers, signal: request.signal })
      response = await deadline(pending, answerTimeoutMs, { clock, signal, what: 'The answer' })
    } catch (error) {
      throw connectionError(error, options)
    }
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
    if (signal?.aborted) throw cancelled(`Downloading '${url}' was cancelled`)
    if (error instanceof AppError) throw error
    throw unavailable(`'${url}' broke off: ${toAppError(error).message}`, {
      retryable: !DISK_ERRORS.has((error as NodeJS.ErrnoException).code ?? ''),
      cause: error
    })
  } finally {
    signal?.removeEventListener('abort', onabort)
    request.abort()
  }
}

/** Writes the body from `at` on; returns where it ended. */
async function receive(
  response: Response,
  file: FileHandle,
  at: number,
  options: DownloadOptions
): Promise<number> {
  const { url, sizeBytes, signal, clock = systemClock, idleTimeoutMs = 30_000 } = options
  const reader = response.body?.getReader()
  if (!reader) return at
  for (;;) {
    const { done, value } = await deadline(reader.read(), idleTimeoutMs, {
      clock,
      signal,
      what: 'The next piece'
    })
    if (done) return at
    if (at + value.byteLength > sizeBytes) {
      throw corrupt(`'${url}' gave more than the ${sizeBytes} bytes that were promised`)
    }
    await file.write(value, 0, value.byteLength, at)
    at += value.byteLength
    options.onprogress?.({ doneBytes: at, totalBytes: sizeBytes })
  }
}

function connectionError(error: unknown, options: DownloadOptions): AppError {
  if (options.signal?.aborted) return cancelled(`Downloading '${options.url}' was cancelled`)
  return unavailable(`'${options.url}' does not answer: ${toAppError(error).message}`, {
    retryable: !options.impatient,
    cause: error
  })
}

function checkStatus(response: Response, url: string, clock: Clock): void {
  const { status } = response
  if (status === 200 || status === 206) return
  if (status === 401 || status === 403) {
    throw denied(`'${url}' may not be downloaded: the server answered ${status}`, {
      hint: 'Accept the licence on the hub if it asks for that, and set HF_TOKEN'
    })
  }
  if (status === 404 || status === 410) throw notFound(`'${url}' is not there any more`)
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfter(response.headers.get('retry-after'), clock)
    throw busy(`'${url}' is busy: the server answered ${status}`, {
      retryable: (retryAfterMs ?? 0) <= MAX_RETRY_AFTER_MS,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs })
    })
  }
  throw unavailable(`'${url}' cannot be downloaded: the server answered ${status}`, {
    retryable: status >= 500 || status === 408
  })
}

/** Seconds or a date, in ms from now. */
function retryAfter(header: string | null, clock: Clock): number | undefined {
  if (header === null) return undefined
  const ms = /^\d{1,9}$/.test(header.trim())
    ? Number(header) * 1000
    : Date.parse(header) - clock.wall()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

/** Where the body begins: behind what we have, or at 0 when the server gives the whole. */
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

/** Only a strong tag can promise that a rest fits what came before. */
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

async function systemFreeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
