// The one error type that crosses rooms: a code for programs, a message and a hint for people.
// Knows nothing of peers, models or terminals; cli/exit.ts turns codes into exit codes.

/**
 * Every code an AppError can carry; the wire carries them by name, so a rename is a protocol
 * change.
 */
export type ErrorCode =
  | 'BAD_INPUT' // the user or caller gave something that cannot be used
  | 'NOT_FOUND' // an unknown model, file, tensor, session or peer
  | 'CORRUPT' // bytes that do not hash, parse or fit
  | 'UNSUPPORTED' // understood, but this build cannot do it
  | 'UNAVAILABLE' // a device, library, network or hub that is not there
  | 'IN_USE' // a port or file that another process holds
  | 'NO_ROUTE' // blocks that nobody serves
  | 'NO_MEMORY' // memory or KV budget is spent
  | 'BUSY' // try later, see retryAfterMs
  | 'TIMEOUT' // a deadline passed
  | 'CANCELLED' // somebody asked for it to stop
  | 'CLOSED' // the thing was closed while it was used
  | 'DISCONNECTED' // the peer went away
  | 'PROTOCOL' // the peer broke the rules of the wire
  | 'LIMIT' // a claim over a stated limit
  | 'DENIED' // no permission: gated model, revoked invite
  | 'COMPUTE' // the engine failed at this step
  | 'INTERNAL' // our own fault

export interface AppErrorOptions {
  /**
   * What to try next, shown under the message to whoever started this program; it may name
   * commands. Default: the advice.
   */
  hint?: string
  /**
   * What whoever asked for this can ask for instead; other programs are told it too, so it names no
   * commands.
   */
  advice?: string
  /** Whether the same request may succeed elsewhere or later. Default: by code. */
  retryable?: boolean
  /** How long to wait before trying the same peer again, in ms. */
  retryAfterMs?: number
  cause?: unknown
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'NO_ROUTE',
  'NO_MEMORY',
  'BUSY',
  'TIMEOUT',
  'CLOSED',
  'DISCONNECTED',
  'COMPUTE'
])

/** An error with a `code` for programs and a `hint` for people. */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly advice: string | undefined
  readonly retryable: boolean
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.hint = options.hint ?? options.advice
    this.advice = options.advice
    this.retryable = options.retryable ?? RETRYABLE.has(code)
    this.retryAfterMs = options.retryAfterMs
  }
}

type Factory = (message: string, options?: AppErrorOptions) => AppError

function factory(code: ErrorCode): Factory {
  return (message, options) => new AppError(code, message, options)
}

export const badInput: Factory = factory('BAD_INPUT')
export const notFound: Factory = factory('NOT_FOUND')
export const corrupt: Factory = factory('CORRUPT')
export const unsupported: Factory = factory('UNSUPPORTED')
export const unavailable: Factory = factory('UNAVAILABLE')
export const inUse: Factory = factory('IN_USE')
export const noRoute: Factory = factory('NO_ROUTE')
export const noMemory: Factory = factory('NO_MEMORY')
export const busy: Factory = factory('BUSY')
export const timedOut: Factory = factory('TIMEOUT')
export const cancelled: Factory = factory('CANCELLED')
export const closed: Factory = factory('CLOSED')
export const disconnected: Factory = factory('DISCONNECTED')
export const protocolError: Factory = factory('PROTOCOL')
export const overLimit: Factory = factory('LIMIT')
export const denied: Factory = factory('DENIED')
export const computeError: Factory = factory('COMPUTE')
export const internal: Factory = factory('INTERNAL')

/** Wraps anything thrown: an AppError stays as it is, everything else becomes INTERNAL. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  if (thrown instanceof Error) return internal(thrown.message, { cause: thrown })
  return internal(`Something that is no error was thrown: '${String(thrown)}'`)
}
