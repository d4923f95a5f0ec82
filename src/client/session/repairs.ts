// What a session does about a failed server: a policy over the failures since the last successful
// step. Trusts no server's claim about another one, and no single server's claim that nothing can
// be done. Knows no connections; failover.ts carries it out.
import type { AppError } from '../../base/errors.ts'
import type { HopFailure } from './hop-failure.ts'

export type Repair =
  /**
   * Give up the server and open the session elsewhere; with `avoidMs` 0 possibly at the same
   * server.
   */
  | { readonly kind: 'leave'; readonly avoidMs: number; readonly gone?: boolean }
  /** The client carries what this server should have pushed. */
  | { readonly kind: 'carry'; readonly after: string }
  /** No other server would answer differently: tell the user. */
  | { readonly kind: 'fatal' }

/** The failed server's current place in the route. */
export interface Standing {
  /** It has the session open. */
  readonly isHop: boolean
  /** Whether the client could carry rows after a server and does not do so yet. */
  canCarry(peer: string): boolean
}

/** How often one server may lose a session within a step. */
const MOST_STRIKES = 2
/** How long a server that refuses is avoided, ms. */
const REFUSED_MS = 5_000
/** A server that blames us may be wrong: it is avoided for longer than one that is gone, ms. */
const DOUBTED_MS = 31_000
/**
 * Number of servers that must blame us alike before that is believed: one may lie, and a quota
 * belongs to one server.
 */
const MOST_REFUSERS = 3
/**
 * Pause before a server is tried again that failed twice in one step, ms; grows with each failure.
 */
const REST_MS = 200

/** A server that was gone or silent is tried again after this, ms; it may have restarted. */
export const GONE_MS = 30_000
/** The same for a server that computed wrongly or had an internal error. */
const FAULTY_MS = 120_000
const BUSY_MS = 2_000

export class Repairs {
  readonly #strikes = new Map<string, number>()
  readonly #failures = new Map<string, number>()
  readonly #refusers = new Set<string>()

  decide(failure: HopFailure, standing: Standing): Repair {
    const { peer, error, teller } = failure
    const remedy = remedyFor(error)
    if (remedy.kind !== 'relay') count(this.#failures, peer)
    if (teller !== undefined) return this.#onReport(peer, teller, remedy.kind, standing)
    switch (remedy.kind) {
      case 'fatal':
        if (this.#refusers.has(peer) || this.#refusers.size + 1 >= MOST_REFUSERS) return remedy
        this.#refusers.add(peer)
        return { kind: 'leave', avoidMs: DOUBTED_MS }
      case 'relay':
        if (standing.canCarry(peer)) return { kind: 'carry', after: peer }
        return { kind: 'leave', avoidMs: REFUSED_MS }
      case 'reopen': {
        const again = count(this.#strikes, peer) <= MOST_STRIKES && standing.isHop
        return { kind: 'leave', avoidMs: again ? 0 : REFUSED_MS }
      }
      case 'avoid':
        return { kind: 'leave', avoidMs: remedy.ms, gone: remedy.gone === true && !failure.hung }
      default:
        throw new TypeError(`No repair for '${String(remedy)}'`)
    }
  }

  /** Whether it has not failed since the last successful step. */
  isNew(peer: string): boolean {
    return !this.#failures.has(peer)
  }

  /** Pause before the next try, ms, so that servers that keep failing are not hammered. */
  get restMs(): number {
    return this.#failures.size === 0 ? 0 : REST_MS * (Math.max(...this.#failures.values()) - 1)
  }

  /** A step has succeeded. */
  done(): void {
    this.#failures.clear()
    this.#strikes.clear()
    this.#refusers.clear()
  }

  // A server reports that its push failed. Whether that is true shows when the client carries the
  // rows itself.
  #onReport(peer: string, teller: string, remedy: string, standing: Standing): Repair {
    if (remedy === 'reopen' && count(this.#strikes, peer) <= MOST_STRIKES) {
      return { kind: 'leave', avoidMs: 0 }
    }
    if (standing.canCarry(teller)) return { kind: 'carry', after: teller }
    return { kind: 'leave', avoidMs: 0 }
  }
}

/** What an error says about the server it came from. */
type Remedy =
  /** The server is sound but lost the session: open it there again and replay. */
  | { readonly kind: 'reopen' }
  /** Avoid this server for `ms`; with `gone`, or until it publishes that it is back. */
  | { readonly kind: 'avoid'; readonly ms: number; readonly gone?: true }
  /** Two servers cannot reach each other: the client carries rows between them. */
  | { readonly kind: 'relay' }
  /** No other server would answer differently: tell the user. */
  | { readonly kind: 'fatal' }

function remedyFor(error: AppError): Remedy {
  switch (error.code) {
    case 'NOT_FOUND':
    case 'CLOSED':
      return { kind: 'reopen' }
    case 'UNAVAILABLE':
      return { kind: 'relay' }
    case 'BUSY':
    case 'NO_MEMORY':
      return { kind: 'avoid', ms: Math.max(error.retryAfterMs ?? 0, BUSY_MS) }
    case 'LIMIT':
      return error.retryable
        ? { kind: 'avoid', ms: Math.max(error.retryAfterMs ?? 0, BUSY_MS) }
        : { kind: 'fatal' }
    case 'DISCONNECTED':
    case 'TIMEOUT':
    case 'NO_ROUTE':
      return { kind: 'avoid', ms: GONE_MS, gone: true }
    case 'COMPUTE':
    case 'INTERNAL':
    case 'CORRUPT':
    case 'PROTOCOL':
      return { kind: 'avoid', ms: FAULTY_MS }
    case 'BAD_INPUT':
    case 'UNSUPPORTED':
    case 'IN_USE':
    case 'CANCELLED':
    case 'DENIED':
      return { kind: 'fatal' }
    default:
      throw new TypeError(`No remedy for code '${String(error.code)}'`)
  }
}

/** Adds one and returns the count. */
function count(counts: Map<string, number>, peer: string): number {
  const more = (counts.get(peer) ?? 0) + 1
  counts.set(peer, more)
  return more
}
