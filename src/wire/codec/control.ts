// The small messages: error, cancel, close, ping and pong.
// The layout is described in protocol.ts.
import { protocolError, type ErrorCode } from '../../base/errors.ts'
import { statusCodec } from './step.ts'
import {
  anyNumber,
  bytesUpTo,
  mapped,
  roughUpTo,
  sessionId,
  shownUpTo,
  stringUpTo,
  type Codec
} from './fields.ts'
import { LIMITS } from '../protocol.ts'
import { checkedWhenRead, flag, record } from './record.ts'
import type { CancelStep, CloseSession, Ping, Pong, WireError } from '../types.ts'

/** Every code there is, checked by the compiler to be complete. */
const CODES: Readonly<Record<ErrorCode, true>> = {
  BAD_INPUT: true,
  NOT_FOUND: true,
  CORRUPT: true,
  UNSUPPORTED: true,
  UNAVAILABLE: true,
  IN_USE: true,
  NO_ROUTE: true,
  NO_MEMORY: true,
  BUSY: true,
  TIMEOUT: true,
  CANCELLED: true,
  CLOSED: true,
  DISCONNECTED: true,
  PROTOCOL: true,
  LIMIT: true,
  DENIED: true,
  COMPUTE: true,
  INTERNAL: true
}

function codeOf(name: string): WireError['code'] {
  return Object.hasOwn(CODES, name) ? (name as ErrorCode) : 'UNKNOWN'
}

export const errorCodec: Codec<WireError> = checkedWhenRead(
  record<WireError>({
    session: bytesUpTo(16, 'the session'),
    // Steps count from 0 here and from 1 on the wire, where 0 stands for an opening.
    step: mapped(
      anyNumber,
      (step: number) => step + 1,
      (number) => number - 1
    ),
    code: mapped(
      stringUpTo(LIMITS.codeBytes, 'the code'),
      (code: WireError['code']): string => code,
      codeOf
    ),
    message: shownUpTo(LIMITS.messageBytes, 'the message'),
    retryAfterMs: roughUpTo(LIMITS.waitMs, 'the time to wait'),
    status: statusCodec,
    retryable: flag
  }),
  ({ session }) => {
    if (session.byteLength === 0 || session.byteLength === 16) return
    throw protocolError(`The error is refused: a session of ${session.byteLength} bytes`)
  }
)

export const cancelCodec: Codec<CancelStep> = record<CancelStep>({
  session: sessionId,
  step: anyNumber
})

export const closeCodec: Codec<CloseSession> = record<CloseSession>({ session: sessionId })

export const pingCodec: Codec<Ping> = record<Ping>({ nonce: anyNumber })

export const pongCodec: Codec<Pong> = record<Pong>({ nonce: anyNumber, status: statusCodec })
