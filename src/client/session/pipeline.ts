// Runs rows through the chain of a session, one segment of consecutive servers at a time: first
// earlier rows that servers lack, then the new ones. Called by session.ts. Knows no routes.
import type { Clock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'
import type { StepResult, WireError, WireTensor } from '../../wire/types.ts'
import type { Hop } from '../route/hop.ts'
import type { ClientLink } from '../route/links.ts'
import type { PeerBook } from '../route/peers.ts'
import type { Chain } from './chain.ts'
import { planChunks } from './chunk-rows.ts'
import type { ForwardOptions, HopTrace } from './forward.ts'
import { planReplay } from './replay.ts'
import { Segment } from './segment.ts'
import { StepTimeout } from './step-timeout.ts'

export interface PipelineOptions {
  session: Uint8Array
  chain: Chain
  hiddenSize: number
  blockCount: number
  /** Longest wait for an answer before the slowest server is given up, ms. */
  silenceMs: number
  clock: Clock
  /** Learns how long steps of one row take. */
  book: PeerBook
}

/** Rows [from, to) through hops [i, j). */
interface Send {
  readonly i: number
  readonly j: number
  readonly from: number
  readonly to: number
  readonly answerRows: number
  /** The output is kept as the next hop's input. */
  readonly gather: boolean
}

/**
 * Mirrors may be missing; their span must then be computed again on failover. Bounded so that
 * memory is.
 */
const MOST_TRAILING = 64

export class Pipeline {
  readonly #options: PipelineOptions
  readonly #timeout: StepTimeout
  #running: Segment | undefined
  /** Segments that have their answer but still wait for mirrors. */
  #trailing: Segment[] = []
  #nextStep = 0
  #trace: HopTrace[] = []
  #onrows: ForwardOptions['onrows']

  constructor(options: PipelineOptions) {
    this.#options = options
    this.#timeout = new StepTimeout(options.silenceMs)
  }

  /** Number of the last step sent; -1 before the first. */
  get lastStep(): number {
    return this.#nextStep - 1
  }

  /** What each hop reported since observe(), in the order of answers. */
  get trace(): readonly HopTrace[] {
    return this.#trace
  }

  /** Starts recording; `onrows` is called with the number of rows that have passed all blocks. */
  observe(onrows: ForwardOptions['onrows']): void {
    this.#trace = []
    this.#onrows = onrows
  }

  /** Whether a step waits for its answer. */
  get running(): boolean {
    return this.#running !== undefined
  }

  /** Rows from `length` on are replaced by others. */
  truncate(length: number): void {
    for (const segment of this.#trailing) segment.truncate(length)
  }

  /** Mirrors of earlier steps are no longer wanted. */
  forgetTrailing(): void {
    this.#trailing = []
  }

  /** Brings every hop's KV up to `start`. @throws HopFailure, or AppError CANCELLED */
  async replay(start: number, signal: AbortSignal): Promise<void> {
    const { chain } = this.#options
    for (const { i, j, from, gather } of planReplay(chain.progress(), start)) {
      await this.#send({ i, j, from, to: start, answerRows: 1, gather }, signal)
    }
  }

  /**
   * Sends new rows [start, end), starting at the last hop that has them as input.
   * @returns the last `answerRows` rows of the output
   * @throws HopFailure, or AppError CANCELLED
   */
  async advance(
    start: number,
    end: number,
    answerRows: number,
    signal: AbortSignal
  ): Promise<WireTensor> {
    const { chain } = this.#options
    const { hops } = chain
    for (;;) {
      const i = Math.max(
        0,
        hops.findLastIndex((hop) => hop.inputs.holds(start, end))
      )
      let j = i + 1
      while (j < hops.length && !chain.isCarried(j - 1)) j++
      const gather = j < hops.length
      const send = { i, j, from: start, to: end, answerRows, gather }
      const answer = await this.#send(send, signal)
      if (!gather) return answer
    }
  }

  onresult(link: ClientLink, message: StepResult): void {
    this.#running?.result(link, message)
    if (this.#trailing.length === 0) return
    for (const segment of this.#trailing) segment.result(link, message)
    this.#trailing = this.#trailing.filter((segment) => segment.trails)
  }

  onerror(link: ClientLink, message: WireError): void {
    this.#running?.error(link, message)
  }

  ondisconnect(link: ClientLink, why: AppError): void {
    this.#running?.disconnected(link, why)
  }

  async #send({ i, j, gather, ...rows }: Send, signal: AbortSignal): Promise<WireTensor> {
    const { session, chain, hiddenSize, clock } = this.#options
    const segment = new Segment({
      ...rows,
      ...planChunks(rows.to - rows.from, j - i, hiddenSize),
      session,
      hops: chain.hops.slice(i, j),
      next: gather ? chain.hops[j] : undefined,
      nextStep: () => this.#nextStep++,
      timeout: this.#timeout,
      clock,
      signal,
      onanswer: (hop, result) => this.#note(hop, result)
    })
    this.#running = segment
    try {
      const answer = await segment.run()
      if (segment.trails) {
        this.#trailing = [...this.#trailing.slice(1 - MOST_TRAILING), segment]
      }
      return answer
    } finally {
      this.#running = undefined
    }
  }

  #note(hop: Hop, result: StepResult): void {
    const { book, clock, blockCount } = this.#options
    if (hop.end === blockCount) this.#onrows?.(result.count)
    const status = result.trace.at(-1)?.status
    if (!status) return
    const blocks = hop.end - hop.start
    const { peer } = hop.link
    if (result.count === 1) book.noteStep(peer, blocks, status, clock.wall())
    const { computeMs, queueMs } = status
    this.#trace.push({ peer, blocks, computeMs, queueMs })
  }
}
