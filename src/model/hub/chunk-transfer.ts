// One transfer of chunks of a hub's file: several connections at once, each retried and resumed at
// the chunk where it stopped. fetch-ranges.ts says which chunks and holds the locks; hub-file.ts
// knows where the bytes are.
import { type Clock, sleep, systemClock } from '../../base/clock.ts'
import { AppError, cancelled, corrupt, unavailable } from '../../base/errors.ts'
import type { ChunkFile } from '../store/chunk-file.ts'
import { type ByteRange, runBytes } from '../store/chunk-map.ts'
import { type HubFile, type Located, locateFile } from './hub-file.ts'
import {
  BACKOFFS_MS,
  bare,
  brokenOff,
  checkStatus,
  type HttpOptions,
  piecesOf,
  request
} from './http.ts'

export interface TransferOptions extends HttpOptions {
  /** Concurrent requests. Default 6. */
  connections?: number
  /** Bytes of one request. Default 16 MiB. */
  partBytes?: number
  /** Called with the bytes of each chunk as they are written, and from whom if not from the hub. */
  onbytes?: (bytes: number, from?: 'peers') => void
}

const CONNECTIONS = 6
const PART_BYTES = 2 ** 24
/** Bytes that a crash may lose: fetched, but not in the journal yet. */
const COMMIT_BYTES = 2 ** 26
const COMMIT_MS = 5000
/** A server that sends only a few bytes per connection must not keep us busy for ever. */
const MAX_TRIES = 200

/** The server ignores ranges and sends the whole file. */
export class RangesIgnored extends AppError {
  constructor(url: string) {
    super('UNSUPPORTED', `'${bare(url)}' knows no ranges`)
  }
}

/** Decides when to commit what was written: often costs time, seldom loses more in a crash. */
export class CommitPace {
  readonly #file: ChunkFile
  readonly #clock: Clock
  #uncommitted = 0
  #committedAt: number

  constructor(file: ChunkFile, clock: Clock) {
    this.#file = file
    this.#clock = clock
    this.#committedAt = clock.now()
  }

  async wrote(bytes: number): Promise<void> {
    this.#uncommitted += bytes
    const isDue = this.#clock.now() - this.#committedAt >= COMMIT_MS
    if (this.#uncommitted < COMMIT_BYTES && !isDue) return
    this.#uncommitted = 0
    this.#committedAt = this.#clock.now()
    await this.#file.commit()
  }
}

/** One attempt at a file. A failure of one connection stops all of them. */
export class Transfer {
  readonly #remote: HubFile
  readonly #file: ChunkFile
  readonly #options: TransferOptions
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  #located: Promise<Located> | undefined
  readonly #pace: CommitPace
  /** No requests before this time, by the clock. */
  #quietUntil = 0

  constructor(remote: HubFile, file: ChunkFile, options: TransferOptions) {
    this.#remote = remote
    this.#file = file
    const { signal } = options
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal
    this.#options = { ...options, signal: this.#signal }
    this.#pace = new CommitPace(file, options.clock ?? systemClock)
  }

  async bringRuns(runs: readonly ByteRange[]): Promise<void> {
    const { connections = CONNECTIONS, partBytes = PART_BYTES } = this.#options
    const parts = split(runs, Math.max(1, Math.floor(partBytes / this.#file.map.chunkBytes)))
    const next = parts.values()
    let failure: { error: unknown } | undefined
    const work = async (): Promise<void> => {
      try {
        for (const part of next) await this.#persist(part, () => this.#bringPart(part))
      } catch (error) {
        failure ??= { error }
        this.#stop.abort()
      }
    }
    await Promise.all(Array.from({ length: Math.min(connections, parts.length) }, work))
    if (failure) throw failure.error
  }

  /** One stream of the whole file, from which every missing chunk is kept. */
  async bringAll(): Promise<void> {
    const progress = { start: 0, end: this.#file.map.count }
    await this.#persist(progress, async () => {
      progress.start = 0
      await this.#exchange({}, (response) =>
        this.#receive(response, 0, async (index, bytes) => {
          if (!this.#file.has(index)) await this.#keep(index, bytes)
          progress.start = index + 1
        })
      )
    })
  }

  /** Tries until `part.start` has reached its end; gives up after tries without progress. */
  async #persist(part: { start: number; end: number }, once: () => Promise<void>): Promise<void> {
    const { clock = systemClock, backoffsMs = BACKOFFS_MS } = this.#options
    let failures = 0
    let best = part.start
    for (let tries = 1; ; tries++) {
      try {
        await this.#quiet()
        await once()
        if (part.start >= part.end) return
        throw unavailable(`'${bare(this.#remote.url)}' ended too early`)
      } catch (thrown) {
        const failure = this.#failureOf(thrown)
        if (!failure.retryable || tries >= MAX_TRIES) throw failure
        failures = part.start > best ? 1 : failures + 1
        best = Math.max(best, part.start)
        const wait = failure.retryAfterMs ?? backoffsMs[failures - 1]
        if (wait === undefined || failures > backoffsMs.length) throw failure
        if (failure.retryAfterMs !== undefined) this.#quietUntil = clock.now() + wait
        else await sleep(wait, { clock, signal: this.#signal })
      }
    }
  }

  async #bringPart(part: { start: number; end: number }): Promise<void> {
    const { map } = this.#file
    const start = part.start * map.chunkBytes
    const end = Math.min(part.end * map.chunkBytes, map.sizeBytes)
    const { url } = this.#remote
    await this.#exchange({ range: `bytes=${start}-${end - 1}` }, async (response) => {
      const isAll = start === 0 && end === map.sizeBytes
      if (response.status === 200 && !isAll) throw new RangesIgnored(url)
      if (response.status === 206) checkRange(response, { start, end }, map.sizeBytes, url)
      await this.#receive(response, part.start, async (index, bytes) => {
        if (index >= part.end) throw corrupt(`'${bare(url)}' gave more than was asked for`)
        await this.#keep(index, bytes)
        part.start = index + 1
      })
    })
  }

  /** Sends a request to the file's current location; the connection ends with `use`. */
  async #exchange(
    headers: Readonly<Record<string, string>>,
    use: (response: Response) => Promise<void>
  ): Promise<void> {
    const { clock = systemClock } = this.#options
    this.#located ??= locateFile(this.#remote, this.#options)
    const locating = this.#located
    const forget = (): void => {
      if (this.#located === locating) this.#located = undefined
    }
    const located = await locating.catch((error: unknown) => {
      forget()
      throw error
    })
    const abort = new AbortController()
    const onabort = (): void => abort.abort()
    this.#signal.addEventListener('abort', onabort, { once: true })
    try {
      const all = { ...located.headers, 'accept-encoding': 'identity', ...headers }
      const response = await request(located.url, { headers: all }, abort, this.#options)
      if (located.isElsewhere && [401, 403, 404, 410].includes(response.status)) {
        forget()
        throw unavailable(`'${bare(located.url)}' cannot be downloaded: the link has run out`)
      }
      if (response.status === 416) {
        throw corrupt(`'${bare(this.#remote.url)}' is shorter than the hub has listed`)
      }
      checkStatus(response, this.#remote.url, clock)
      await use(response)
    } finally {
      this.#signal.removeEventListener('abort', onabort)
      abort.abort()
    }
  }

  /** Cuts a body into chunks from `index` on. */
  async #receive(
    response: Response,
    index: number,
    onchunk: (index: number, bytes: Uint8Array) => Promise<void>
  ): Promise<void> {
    const { map } = this.#file
    const chunk = new Uint8Array(map.chunkBytes)
    let filled = 0
    for await (const piece of piecesOf(response, this.#options)) {
      for (let at = 0; at < piece.byteLength;) {
        const size = index < map.count ? runBytes(map, { start: index, end: index + 1 }) : 0
        if (size === 0) {
          throw corrupt(`'${bare(this.#remote.url)}' gave more than its ${map.sizeBytes} bytes`)
        }
        const taken = Math.min(size - filled, piece.byteLength - at)
        chunk.set(piece.subarray(at, at + taken), filled)
        filled += taken
        at += taken
        if (filled < size) continue
        await onchunk(index, chunk.subarray(0, size))
        index++
        filled = 0
      }
    }
  }

  async #keep(index: number, bytes: Uint8Array): Promise<void> {
    await this.#file.write(index, bytes)
    this.#options.onbytes?.(bytes.byteLength)
    await this.#pace.wrote(bytes.byteLength)
  }

  /** Waits as long as the server asked one of the connections to wait. */
  async #quiet(): Promise<void> {
    const { clock = systemClock } = this.#options
    const wait = this.#quietUntil - clock.now()
    if (wait > 0) await sleep(wait, { clock, signal: this.#signal })
  }

  #failureOf(thrown: unknown): AppError {
    if (this.#stop.signal.aborted) return cancelled('Another connection failed')
    return brokenOff(thrown, this.#remote.url, this.#signal)
  }
}

function split(runs: readonly ByteRange[], chunks: number): { start: number; end: number }[] {
  const parts: { start: number; end: number }[] = []
  for (const { start, end } of runs) {
    for (let at = start; at < end; at += chunks) {
      parts.push({ start: at, end: Math.min(at + chunks, end) })
    }
  }
  return parts
}

/** A server may send less than was requested, but nothing else. */
function checkRange(response: Response, asked: ByteRange, sizeBytes: number, url: string): void {
  const found = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
  const fits =
    found !== null &&
    Number(found[1]) === asked.start &&
    Number(found[2]) < asked.end &&
    (found[3] === '*' || Number(found[3]) === sizeBytes)
  if (!fits) throw corrupt(`'${bare(url)}' gave another range than was asked for`)
}
