// Keeps a server's record in the DHT true: published at once, again when it changes, again before
// it expires, and emptied when the server leaves. How it is put there is the caller's.
import { deadline, type Clock } from '../base/clock.ts'
import { toAppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { ServerInfo } from '../wire/types.ts'
import { encodeRecord, LIFE_MS } from './record.ts'

/** A third of a record's life: two puts may be lost. */
export const REFRESH_MS = 20_000
/** Least time between puts of mere numbers. */
const CHANGE_MS = 5_000
const PUT_MS = 8_000

export interface PublisherOptions {
  clock: Clock
  random: Random
  log: Log
  /** Signs and stores a record; `seq` only grows. */
  put: (record: Uint8Array, seq: number) => Promise<void>
  /** The number of this key's record in the DHT now, or 0. */
  lastSeq: () => Promise<number>
  /** Most bytes of a record. Default: what the DHT takes. */
  maxBytes?: number
  /** Called with what was put: links are told the same. */
  onpublished?: (servers: readonly ServerInfo[]) => void
  /** Called with each regular refresh. */
  onrefresh?: () => void
}

export class Publisher {
  readonly #options: PublisherOptions
  #servers: readonly ServerInfo[] = []
  #seq: number | undefined
  #publishedAt = -Infinity
  #stopTimer: () => void = () => {}
  #putting: Promise<void> = Promise.resolve()
  #stopped = true

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Publishes these spans and keeps them published. @throws AppError when the DHT takes nothing */
  async start(servers: readonly ServerInfo[]): Promise<void> {
    this.#stopped = false
    this.#servers = servers
    await this.#put()
  }

  /** New numbers: soon, or at once when `urgent`. */
  update(servers: readonly ServerInfo[], urgent = false): void {
    this.#servers = servers
    if (this.#stopped) return
    const { clock } = this.#options
    const since = clock.now() - this.#publishedAt
    if (urgent || since >= CHANGE_MS) this.#putSoon(0)
    else this.#putSoon(CHANGE_MS - since)
  }

  /** Publishes that nothing is served any more, and stops. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    this.#stopTimer()
    this.#servers = []
    await this.#put()
  }

  #putSoon(ms: number): void {
    const { clock, log, onrefresh } = this.#options
    this.#stopTimer()
    this.#stopTimer = clock.after(
      ms,
      () => {
        if (ms >= REFRESH_MS / 2) onrefresh?.()
        this.#put().catch((error: unknown) => {
          log.warn(`the swarm did not take this server's record: ${toAppError(error).message}`)
        })
      },
      true
    )
  }

  /** One put after the other: their numbers must arrive in order. */
  #put(): Promise<void> {
    const next = this.#putting.then(() => this.#putNow())
    this.#putting = next.catch(() => {})
    return next
  }

  async #putNow(): Promise<void> {
    const { clock, random, put, lastSeq, onpublished, maxBytes } = this.#options
    this.#stopTimer()
    try {
      const issuedAt = Math.floor(clock.wall())
      const servers = this.#servers.map((info) => ({
        ...info,
        issuedAt,
        expiresAt: issuedAt + LIFE_MS
      }))
      // The clock may have been set back since the last run.
      this.#seq = Math.max(issuedAt, (this.#seq ?? (await lastSeq())) + 1)
      this.#publishedAt = clock.now()
      onpublished?.(servers)
      const record = encodeRecord(servers, maxBytes)
      await deadline(put(record, this.#seq), PUT_MS, { clock, what: 'Publishing' })
    } finally {
      if (!this.#stopped) this.#putSoon(REFRESH_MS * (0.8 + 0.4 * random.next()))
    }
  }
}
