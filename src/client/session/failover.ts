// Repeats a step after a server has failed: asks repairs.ts what to do, changes the chain, and
// pauses, for as long as recover-budget.ts allows. Called by session.ts.
import { sleep, type Clock } from '../../base/clock.ts'
import { toAppError, type AppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { PeerBook } from '../route/peers.ts'
import { WaitTelling, type OnWait } from '../text/wait-telling.ts'
import type { Chain } from './chain.ts'
import { HopFailure } from './hop-failure.ts'
import { RecoverBudget, type RecoverTimes } from './recover-budget.ts'
import { Repairs } from './repairs.ts'
import type { RouteKeeper } from './route-keeper.ts'

export interface FailoverOptions extends RecoverTimes {
  chain: Chain
  keeper: RouteKeeper
  book: PeerBook
  clock: Clock
  log: Log
  /** Called when a server is avoided. */
  onreroute?: (peer: string, why: AppError) => void
  onwait?: OnWait
}

export interface RetryOptions {
  readonly signal: AbortSignal
  /** Whether no step of the session has been sent yet. */
  readonly isFirst: () => boolean
  /** Changes the session as the error demands. True if it did: then no server is to blame. */
  readonly adapt: (error: AppError) => boolean
}

/** Time between searches for blocks that nobody serves, ms. */
const FIND_AGAIN_MS = 300
const MOST_PAUSE_MS = 2_000

export class Failover {
  /** Number of times that servers were replaced or opened again. */
  reroutes = 0
  readonly #options: FailoverOptions
  readonly #repairs = new Repairs()

  constructor(options: FailoverOptions) {
    this.#options = options
  }

  /** What `attempt` returns. @throws what it throws if nothing can help, or no time is left */
  async retry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
    const { clock, onwait } = this.#options
    const { signal } = options
    const budget = new RecoverBudget(this.#options)
    using telling = new WaitTelling(clock, onwait)
    for (;;) {
      try {
        const result = await attempt()
        this.#repairs.done()
        return result
      } catch (thrown) {
        if (signal.aborted) throw thrown
        const failure = thrown instanceof HopFailure ? thrown : undefined
        const error = failure?.error ?? toAppError(thrown)
        if (options.adapt(error)) continue
        const now = clock.now()
        const giveUpAt = budget.note({
          now,
          isFirst: options.isFirst(),
          ofServer: failure !== undefined,
          isNew: failure !== undefined && this.#repairs.isNew(failure.peer)
        })
        if (now >= giveUpAt) throw error
        telling.note(error, giveUpAt)
        if (!failure && error.code !== 'NO_ROUTE') throw error
        if (failure) this.mend(failure)
        const pauseMs = failure ? Math.min(this.#repairs.restMs, MOST_PAUSE_MS) : FIND_AGAIN_MS
        if (pauseMs > 0) await sleep(pauseMs, { clock, signal })
      }
    }
  }

  /**
   * Removes a failed server from the chain, or carries rows after it. @throws AppError if nothing
   * can help
   */
  mend(failure: HopFailure): void {
    const { chain, keeper, book, clock, log, onreroute } = this.#options
    const { peer, error, also } = failure
    const standing = { isHop: chain.has(peer), canCarry: (at: string) => chain.canCarry(at) }
    const repair = this.#repairs.decide(failure, standing)
    if (repair.kind === 'fatal') throw error
    if (repair.kind === 'carry') {
      log.debug(`carrying behind ${repair.after.slice(0, 8)}, for ${textOf(failure)}`)
      chain.carryAfter(repair.after)
    } else {
      log.debug(`leaving ${textOf(failure)}`)
      this.reroutes++
      onreroute?.(peer, error)
      const { avoidMs, gone } = repair
      const goneAt = gone ? clock.wall() : Infinity
      if (avoidMs > 0) book.avoid(peer, clock.now() + avoidMs, goneAt)
      keeper.drop(peer)
    }
    for (const one of also) this.mend(one)
  }
}

function textOf({ peer, error, teller }: HopFailure): string {
  const by = teller === undefined ? '' : ` (by ${teller.slice(0, 8)})`
  const cause = error.code === 'NO_ROUTE' && error.cause ? ` (${String(error.cause)})` : ''
  return `${peer.slice(0, 8)}: ${error.code} ${error.message}${cause}${by}`
}
