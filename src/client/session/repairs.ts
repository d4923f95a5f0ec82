// What a session does about a failed server: a policy over failures since the last step that
// succeeded. Takes no server's word about another one, and no single server's word that nothing can
// be done. Knows no connections; failover.ts acts on it.
import type { AppError } from '../../base/errors.ts'
import type { HopFailure } from './hop-failure.ts'

export type Repair =
  /** Leave the server, and open the session elsewhere; at once there too when `avoidMs` is 0. */
  | { readonly kind: 'leave'; readonly avoidMs: number; readonly gone?: boolean }
  /** The client carries what this server should have pushed. */
  | { readonly kind: 'carry'; readonly after: string }
  /** Nobody else would answer otherwise: tell the user. */
  | { readonly kind: 'fatal' }

/** How the failed server stands in the route now. */
export interface Standing {
  /** It has the session open. */
  readonly isHop: boolean
  /** Whether the client could carry behind a server, and does not yet. */
  canCarry(peer: string): boolean
}

/** How often one server may forget a session within a step. */
const MOST_STRIKES = 2
/** How long one that refuses is left alone, ms. */
const REFUSED_MS = 5_000
/** One that says it is our fault, although it may not be: longer than one that is gone. */
const DOUBTED_MS = 31_000
/**
 * So many servers must say alike that it is our fault: one may lie, and a quota is of one server.
 */
const MOST_REFUSERS = 3
/** Before a server is tried again that failed twice in one step, ms; longer the more often. */
const REST_MS = 200

/** A server that was gone or silent is asked again after this; it may have restarted. */
const GONE_MS = 30_000
/** A server that computed wrongly or failed inside. */
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
    if (teller !== undefined) return this.#onHearsay(peer, teller, remedy.kind, standing)
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

  /** Whether it has not failed since the last step that succeeded. */
  isNew(peer: string): boolean {
    return !this.#failures.has(peer)
  }

  /**
   * Time to let pass before the next try, ms: servers that fail again and again are not hammered.
   */
  get restMs(): number {
    return this.#failures.size === 0 ? 0 : REST_MS * (Math.max(...this.#failures.values()) - 1)
  }

  /** A step has succeeded. */
  done(): void {
    this.#failures.clear()
    this.#strikes.clear()
    this.#refusers.clear()
  }

  // A server that pushes says what came of it; whether that is so shows when the client carries
  // itself.
  #onHearsay(peer: string, teller: string, remedy: string, standing: Standing): Repair {
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
  /** Go round this server for `ms`; `gone`: or until it shows that it is back. */
  | { readonly kind: 'avoid'; readonly ms: number; readonly gone?: true }
  /** Two servers cannot reach each other: the client carries between them. */
  | { readonly kind: 'relay' }
  /** Nobody else would answer otherwise: tell the user. */
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

/** One more; how many there are. */
function count(counts: Map<string, number>, peer: string): number {
  const more = (counts.get(peer) ?? 0) + 1
  counts.set(peer, more)
  return more
}
