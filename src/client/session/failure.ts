// What to do about a server that failed: a pure policy over error codes.
// Knows no connections; repairs.ts asks it, session.ts acts on it.
import type { AppError } from '../../base/errors.ts'

export type Remedy =
  /** The server is sound but lost the session: open it there again and replay. */
  | { readonly kind: 'reopen' }
  /** Go round this server for `ms`; `gone`: or until it shows that it is back. */
  | { readonly kind: 'avoid'; readonly ms: number; readonly gone?: true }
  /** Two servers cannot reach each other: the client carries between them. */
  | { readonly kind: 'relay' }
  /** Nobody else would answer otherwise: tell the user. */
  | { readonly kind: 'fatal' }

// A server that was gone or silent is asked again after this; it may have restarted.
const GONE_MS = 30_000
// A server that computed wrongly or failed inside.
const FAULTY_MS = 120_000
const BUSY_MS = 2_000

export function remedyFor(error: AppError): Remedy {
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
