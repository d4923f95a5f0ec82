// Answers requests for weights: one request of a link after the other, links in turns, in pieces,
// within the upload limit. Steps go first: while one is computed a piece waits. Called by host.ts
// with what links bring. Knows no files: the source has them.
import { sleep, type Clock } from '../base/clock.ts'
import { notFound, overLimit, toAppError, type ErrorCode } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import { catalogueCodec, holdingCodec } from '../wire/codec/weights.ts'
import { encodeMessage } from '../wire/codec/encode.ts'
import { LIMITS } from '../wire/protocol.ts'
import { WANTS, type Catalogue, type Give, type Holding, type Want } from '../wire/types.ts'
import type { UploadBudget } from './upload-budget.ts'

/**
 * What is given: OfferedWeights. Each method may throw an AppError, whose code is the answer.
 */
export interface WeightSource {
  readonly catalogue: Catalogue
  /** Names by which the model can be requested. */
  readonly words: readonly string[]
  holding(sha256: string): Promise<Holding>
  hashes(sha256: string, start: number, count: number): Promise<Uint8Array>
  bytes(sha256: string, start: number, count: number): Promise<Uint8Array>
}

/** A connection: wire's PeerLink. */
export interface WantLink {
  readonly closed: boolean
  readonly queuedBytes: number
  give(message: Give): boolean
  drained(): Promise<void>
}

export interface WeightServerOptions {
  source: WeightSource
  budget: UploadBudget
  /** Steps that wait or run; weights wait for them. */
  stepsUnderWay: () => number
  /** Why the peer of a link gets nothing; undefined: it may ask. Default: everybody may. */
  whyNot?: ((link: object) => string | undefined) | undefined
  clock: Clock
  log: Log
}

/**
 * Longest wait of a piece for steps: 64 KiB each 100 ms leave 640 KB/s to those who fetch from a
 * busy server.
 */
const YIELD_MS = 100
/** With more than one piece queued, a step on the same link would wait. */
const MOST_QUEUED = LIMITS.giveBytes

interface Asker {
  readonly wants: Want[]
  isServed: boolean
}

export class WeightServer extends Resource {
  givenBytes = 0
  readonly #options: WeightServerOptions
  readonly #askers = new Map<WantLink, Asker>()
  readonly #stop = new AbortController()
  /** Resolves when the link whose turn it is has sent its piece. */
  #turn: Promise<void> = Promise.resolve()

  constructor(options: WeightServerOptions) {
    super()
    this.#options = options
  }

  onwant(link: WantLink, want: Want): void {
    if (this.closing) return
    if (this.#options.whyNot?.(link) !== undefined) return this.#refuse(link, want, 'DENIED')
    const asker = this.#askers.get(link) ?? { wants: [], isServed: false }
    if (asker.wants.length >= LIMITS.wants) return this.#refuse(link, want, 'BUSY')
    asker.wants.push(want)
    this.#askers.set(link, asker)
    if (asker.isServed) return
    asker.isServed = true
    // A link that does not read holds up only itself, and ends with its node.
    void this.#serve(link, asker)
  }

  onclosed(link: WantLink): void {
    const asker = this.#askers.get(link)
    this.#askers.delete(link)
    asker?.wants.splice(0)
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    for (const link of this.#askers.keys()) this.onclosed(link)
    this.#stop.abort()
  }

  /** Sends one answer after the other while there are requests; never rejects. */
  async #serve(link: WantLink, asker: Asker): Promise<void> {
    for (let want = asker.wants[0]; want; want = asker.wants[0]) {
      try {
        await this.#answer(link, want)
      } catch (error) {
        const { code, message } = toAppError(error)
        this.#options.log.debug(`a want was not answered: ${message}`)
        this.#refuse(link, want, code)
      }
      asker.wants.shift()
    }
    asker.isServed = false
  }

  async #answer(link: WantLink, want: Want): Promise<void> {
    const { source } = this.#options
    const { what, name, start, count } = want
    const kind = WANTS[what]
    const most =
      kind === 'hashes' ? LIMITS.wantHashes : kind === 'bytes' ? LIMITS.wantBytes : Infinity
    if (count > most) throw overLimit(`A want of ${count} is over ${most}`)
    switch (kind) {
      case 'catalogue':
        if (!source.words.includes(name)) throw notFound('No such model is served here')
        return await this.#giveAll(link, want, encodeMessage(catalogueCodec, source.catalogue))
      case 'holding':
        return await this.#giveAll(
          link,
          want,
          encodeMessage(holdingCodec, await source.holding(name))
        )
      case 'hashes':
        return await this.#giveAll(link, want, await source.hashes(name, start, count))
      case 'bytes':
        // Read while it is sent: many links that request much must not fill the memory.
        return await this.#give(link, want, count, (at, size) =>
          source.bytes(name, start + at, size)
        )
      default:
        throw notFound('That is not known here')
    }
  }

  #giveAll(link: WantLink, want: Want, bytes: Uint8Array): Promise<void> {
    return this.#give(link, want, bytes.byteLength, async (at, size) =>
      bytes.subarray(at, at + size)
    )
  }

  async #give(
    link: WantLink,
    { request }: Want,
    count: number,
    read: (at: number, size: number) => Promise<Uint8Array>
  ): Promise<void> {
    let at = 0
    do {
      const data = await read(at, Math.min(LIMITS.giveBytes, count - at))
      at += data.byteLength
      if (link.queuedBytes > MOST_QUEUED) await link.drained()
      await this.#takeTurn(data.byteLength)
      if (link.closed || this.#stop.signal.aborted) return
      link.give({ request, left: count - at, data })
      this.givenBytes += data.byteLength
    } while (at < count)
  }

  /**
   * Links take turns, a piece each, behind steps and within the limit.
   * @throws AppError CANCELLED
   */
  async #takeTurn(bytes: number): Promise<void> {
    const { budget, clock, stepsUnderWay } = this.#options
    const { signal } = this.#stop
    const before = this.#turn
    const mine = Promise.withResolvers<void>()
    this.#turn = mine.promise
    try {
      await before
      if (stepsUnderWay() > 0) await sleep(YIELD_MS, { clock, signal })
      await budget.take(bytes, signal)
    } finally {
      mine.resolve()
    }
  }

  #refuse(link: WantLink, { request }: Want, refused: ErrorCode): void {
    if (link.closed) return
    link.give({ request, left: 0, data: new Uint8Array(0), refused })
  }
}
