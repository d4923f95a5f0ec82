// A peer's error message as an error of ours. Knows no connections.
import { AppError, type ErrorCode } from '../base/errors.ts'
import type { WireError } from './types.ts'

/** `unknown` stands for a code that this version does not have. */
export function fromWire(message: WireError, unknown: ErrorCode = 'PROTOCOL'): AppError {
  const code = message.code === 'UNKNOWN' ? unknown : message.code
  const { retryable, retryAfterMs } = message
  return new AppError(code, message.message, { retryable, retryAfterMs })
}
