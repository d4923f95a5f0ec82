// What all requests to a hub share: time limits, and what refusals mean to a user. Knows no files
// and no models.
import { formatBytes } from '../../base/bytes.ts'
import { type Clock, deadline, systemClock } from '../../base/clock.ts'
import {
  type AppError,
  busy,
  cancelled,
  denied,
  notFound,
  toAppError,
  unavailable
} from '../../base/errors.ts'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface HttpOptions {
  fetch?: Fetch
  clock?: Clock
  signal?: AbortSignal | undefined
  /** Waits between tries that make no progress, ms; after the last one it gives up. */
  backoffsMs?: readonly number[]
  /** Longest wait for the response headers. Default 10,000 ms. */
  answerTimeoutMs?: number
  /** Longest pause within a body. Default 30,000 ms. */
  idleTimeoutMs?: number
  /** Gives up at once if nothing answers, because there is another source. Default false. */
  impatient?: boolean
  /** Free disk space of a folder in bytes. Default: asks the system. */
  freeBytes?: (folder: string) => Promise<number>
}

export const BACKOFFS_MS: readonly number[] = [500, 1000, 2000, 4000, 8000]
/** If a server asks to wait longer than this, the user is told instead. */
const MAX_RETRY_AFTER_MS = 60_000
/** Disk space that is left to others. */
export const SPARE_BYTES: number = 64 * 2 ** 20
/** Errors for which trying again is no use. */
const DISK_ERRORS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS', 'EIO'])

/** Sends one request; `abort` also ends its body. @throws AppError UNAVAILABLE, CANCELLED */
export async function request(
  url: string,
  init: RequestInit,
  abort: AbortController,
  options: HttpOptions
): Promise<Response> {
  const { signal, clock = systemClock, answerTimeoutMs = 10_000 } = options
  const send = options.fetch ?? fetch
  try {
    const pending = send(url, { ...init, signal: abort.signal })
    return await deadline(pending, answerTimeoutMs, { clock, signal, what: 'The answer' })
  } catch (error) {
    if (signal?.aborted) throw cancelled(`Downloading '${bare(url)}' was cancelled`)
    throw unavailable(`'${bare(url)}' does not answer: ${toAppError(error).message}`, {
      hint: 'See whether the name is right and this machine is online',
      retryable: !options.impatient,
      cause: error
    })
  }
}

/**
 * Pieces of a body; none may take longer than the idle timeout.
 * @throws AppError TIMEOUT, CANCELLED
 */
export async function* piecesOf(
  response: Response,
  options: HttpOptions
): AsyncGenerator<Uint8Array, void> {
  const { signal, clock = systemClock, idleTimeoutMs = 30_000 } = options
  const reader = response.body?.getReader()
  if (!reader) return
  for (;;) {
    const { done, value } = await deadline(reader.read(), idleTimeoutMs, {
      clock,
      signal,
      what: 'The next piece'
    })
    if (done) return
    yield value
  }
}

/** @throws AppError DENIED, NOT_FOUND, BUSY, UNAVAILABLE unless the answer is 200 or 206 */
export function checkStatus(response: Response, url: string, clock: Clock = systemClock): void {
  const { status } = response
  if (status === 200 || status === 206) return
  const what = bare(url)
  // The public hub's error code. Without a token, a repository that does not exist is a 401.
  const reason = response.headers.get('x-error-code')
  if ((status === 401 && reason === 'RepoNotFound') || reason === 'RevisionNotFound') {
    throw notFound(`'${what}' is not there, or is private`, {
      hint: 'Look at its name and revision; for a private one set HF_TOKEN'
    })
  }
  if (status === 401 || status === 403) {
    throw denied(`'${what}' may not be downloaded: the server answered ${status}`, {
      hint: 'Accept the licence on the hub if it asks for that, and set HF_TOKEN'
    })
  }
  if (status === 404 || status === 410) throw notFound(`'${what}' is not there any more`)
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfter(response.headers.get('retry-after'), clock)
    throw busy(`'${what}' is busy: the server answered ${status}`, {
      retryable: (retryAfterMs ?? 0) <= MAX_RETRY_AFTER_MS,
      ...(retryAfterMs === undefined
        ? {}
        : { retryAfterMs, hint: `Try again in ${Math.ceil(retryAfterMs / 1000)} s` })
    })
  }
  throw unavailable(`'${what}' cannot be downloaded: the server answered ${status}`, {
    retryable: status >= 500 || status === 408
  })
}

/** Turns a failure of a transfer into an AppError whose code can be acted on. */
export function brokenOff(thrown: unknown, url: string, signal?: AbortSignal): AppError {
  if (signal?.aborted) return cancelled(`Downloading '${bare(url)}' was cancelled`)
  const error = toAppError(thrown)
  if (error === thrown) return error
  return unavailable(`'${bare(url)}' broke off: ${error.message}`, {
    retryable: !DISK_ERRORS.has((thrown as NodeJS.ErrnoException).code ?? ''),
    cause: thrown
  })
}

/** @throws AppError UNAVAILABLE with the numbers */
export function checkRoom(what: string, neededBytes: number, freeBytes: number): void {
  if (freeBytes >= neededBytes + SPARE_BYTES) return
  throw unavailable(
    `'${what}' cannot be downloaded: ${formatBytes(neededBytes)} are needed, the disk has ${formatBytes(freeBytes)}`,
    { hint: 'Free some space, or set PETALS_HOME to a folder on another disk', retryable: false }
  )
}

/** A header with seconds or a date, in ms from now. */
function retryAfter(header: string | null, clock: Clock): number | undefined {
  if (header === null) return undefined
  const ms = /^\d{1,9}$/.test(header.trim())
    ? Number(header) * 1000
    : Date.parse(header) - clock.wall()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

/** The URL without its query: in signed links to a store, the query is a key. */
export function bare(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}
