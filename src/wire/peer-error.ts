// Converts errors between our AppError and the wire's. Knows no connections.
import { AppError, type ErrorCode } from '../base/errors.ts'
import type { ServerStatus, WireError } from './types.ts'

/** The status of an end that serves nothing or does not say how busy it is. */
export const IDLE: ServerStatus = { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }

/** For errors about the link itself. */
export const NO_SESSION: Uint8Array = new Uint8Array(0)

export interface ErrorTarget {
  /** Default: none; the error is about the link. */
  readonly session?: Uint8Array
  /** Default -1: none; the error is about an opening or the link. */
  readonly step?: number
  /** Default: idle. */
  readonly status?: ServerStatus
}

/** One of our errors in the form that the peer is told. */
export function toWire(error: AppError, target: ErrorTarget = {}): WireError {
  const { session = NO_SESSION, step = -1, status = IDLE } = target
  const { code, message, retryable, retryAfterMs = 0 } = error
  return { session, step, code, message, retryable, retryAfterMs, status }
}

/** A peer's error as one of ours; `unknown` is used for a code that this version does not have. */
export function fromWire(message: WireError, unknown: ErrorCode = 'PROTOCOL'): AppError {
  const code = message.code === 'UNKNOWN' ? unknown : message.code
  const { retryable, retryAfterMs } = message
  return new AppError(code, message.message, { retryable, retryAfterMs })
}
