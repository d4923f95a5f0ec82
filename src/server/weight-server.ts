// Gives weights to whoever wants them: one answer at a time, links in turns, in pieces, within the upload
// limit, and behind steps: while one is computed a piece waits. Called by host.ts with what links bring.
// Knows no files: the shelf has them.
import { sleep, type Clock } from '../base/clock.ts'
import { notFound, overLimit, toAppError, type ErrorCode } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import { catalogueCodec, holdingCodec } from '../wire/codec-weights.ts'
import { encodeMessage } from '../wire/codecs.ts'
import { LIMITS } from '../wire/protocol.ts'
import { WANTS, type Catalogue, type Give, type Holding, type Want } from '../wire/types.ts'
import type { UploadBudget } from './upload-budget.ts'

/** What it gives from; model/weight-shelf.ts is it. Each may throw an AppError: the answer's code. */
export interface Shelf {
  readonly catalogue: Catalogue
  /** By any of these the model may be asked for. */
  readonly words: readonly string[]
  holding(sha256: string): Promise<Holding>
  hashes(sha256: string, start: number, count: number): Promise<Uint8Array>
  bytes(sha256: string, start: number, count: number): Promise<Uint8Array>
}

/** A connection; wire's PeerLink is one. */
export interface WantLink {
  readonly closed: boolean
  readonly queuedBytes: number
  give(message: Give): boolean
  drained(): Promise<void>
}

export interface WeightServerOptions {
  shelf: Shelf
  budget: UploadBudget
  /** Steps that wait or run: weights wait for them. */
  stepsUnderWay: () => number
  /** Why a link's peer is given nothing; undefined: it may ask. Default: everybody may. */
  whyNot?: ((link: object) => string | undefined) | undefined
  clock: Clock
  log: Log
}

/** A piece waits so long for steps: 64 KiB each 100 ms leave 640 KB/s to who fetches from a busy server. */
const YIELD_MS = 100
/** Behind more than a piece a step of the same link would wait. */
const MOST_QUEUED = LIMITS.giveBytes

export class WeightServer extends Resource {
  givenBytes = 0
  readonly #options: WeightServerOptions
  /** What each link waits for; links in turns. */
  readonly #waiting = new Map<WantLink, Want[]>()
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined

  constructor(options: WeightServerOptions) {
    super()
    this.#options = options
  }

  onwant(link: WantLink, want: Want): void {
    if (this.closing) return
    const queue = this.#waiting.get(link) ?? []
    if (this.#options.whyNot?.(link) !== undefined) return this.#refuse(link, want, 'DENIED')
    if (queue.length >= LIMITS.wants) return this.#refuse(link, want, 'BUSY')
    queue.push(want)
    this.#waiting.set(link, queue)
    this.#running ??= this.#run().finally(() => (this.#running = undefined))
  }

  onclosed(link: WantLink): void {
    this.#waiting.delete(link)
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    this.#waiting.clear()
    this.#stop.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    for (;;) {
      const [next] = this.#waiting
      if (!next || this.#stop.signal.aborted) return
      const [link, queue] = next
      const want = queue.shift()
      this.#waiting.delete(link)
      if (queue.length > 0) this.#waiting.set(link, queue)
      if (!want || link.closed) continue
      try {
        await this.#give(link, want.request, await this.#answer(want))
      } catch (error) {
        const { code, message } = toAppError(error)
        this.#options.log.debug(`a want was not answered: ${message}`)
        this.#refuse(link, want, code)
      }
    }
  }

  async #answer({ what, name, start, count }: Want): Promise<Uint8Array> {
    const { shelf } = this.#options
    const kind = WANTS[what]
    const most =
      kind === 'hashes' ? LIMITS.wantHashes : kind === 'bytes' ? LIMITS.wantBytes : Infinity
    if (count > most) throw overLimit(`A want of ${count} is over ${most}`)
    switch (kind) {
      case 'catalogue':
        if (!shelf.words.includes(name)) throw notFound('No such model is served here')
        return encodeMessage(catalogueCodec, shelf.catalogue)
      case 'holding':
        return encodeMessage(holdingCodec, await shelf.holding(name))
      case 'hashes':
        return await shelf.hashes(name, start, count)
      case 'bytes':
        return await shelf.bytes(name, start, count)
      default:
        throw notFound('That is not known here')
    }
  }

  async #give(link: WantLink, request: number, bytes: Uint8Array): Promise<void> {
    const { budget } = this.#options
    const { signal } = this.#stop
    let at = 0
    do {
      const data = bytes.subarray(at, at + LIMITS.giveBytes)
      at += data.byteLength
      await this.#yield()
      await budget.take(data.byteLength, signal)
      if (link.queuedBytes > MOST_QUEUED) await link.drained()
      if (link.closed || signal.aborted) return
      link.give({ request, left: bytes.byteLength - at, data })
      this.givenBytes += data.byteLength
    } while (at < bytes.byteLength)
  }

  async #yield(): Promise<void> {
    const { clock, stepsUnderWay } = this.#options
    if (stepsUnderWay() > 0) await sleep(YIELD_MS, { clock, signal: this.#stop.signal })
  }

  #refuse(link: WantLink, { request }: Want, refused: ErrorCode): void {
    if (link.closed) return
    link.give({ request, left: 0, data: new Uint8Array(0), refused })
  }
}
