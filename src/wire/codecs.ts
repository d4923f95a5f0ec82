// The small messages' codecs, and the way whole messages become bytes and back.
// The layout is written at the head of protocol.ts; codec-info, codec-open and codec-step hold the rest.
import { AppError, protocolError, type ErrorCode } from '../base/errors.ts'
import { statusCodec } from './codec-step.ts'
import {
  bytesUpTo,
  decodeFields,
  flags,
  framed,
  present,
  roughUpTo,
  sessionId,
  shownUpTo,
  sizeOf,
  stringUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { LIMITS } from './protocol.ts'
import type { CancelStep, CloseSession, Ping, Pong, WireError } from './types.ts'

const anyNumber = uintUpTo(Number.MAX_SAFE_INTEGER, 'a number')

const maybeSession = bytesUpTo(16, 'the session')
const code = stringUpTo(LIMITS.codeBytes, 'the code')
const text = shownUpTo(LIMITS.messageBytes, 'the message')
const retryAfter = roughUpTo(LIMITS.waitMs, 'the time to wait')
const retryable = framed(present)

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

export const errorCodec: Codec<WireError> = {
  preencode(state, message) {
    flags.preencode(state, message.retryable ? 1 : 0)
    maybeSession.preencode(state, message.session)
    anyNumber.preencode(state, message.step + 1)
    code.preencode(state, message.code)
    text.preencode(state, message.message)
    retryAfter.preencode(state, message.retryAfterMs)
    statusCodec.preencode(state, message.status)
    if (message.retryable) retryable.preencode(state, true)
  },
  encode(state, message) {
    flags.encode(state, message.retryable ? 1 : 0)
    maybeSession.encode(state, message.session)
    anyNumber.encode(state, message.step + 1)
    code.encode(state, message.code)
    text.encode(state, message.message)
    retryAfter.encode(state, message.retryAfterMs)
    statusCodec.encode(state, message.status)
    if (message.retryable) retryable.encode(state, true)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = {
      session: maybeSession.decode(state),
      step: anyNumber.decode(state) - 1,
      code: codeOf(code.decode(state)),
      message: text.decode(state),
      retryAfterMs: retryAfter.decode(state),
      status: statusCodec.decode(state),
      retryable: (bits & 1) !== 0
    }
    decodeFields(state, bits)
    if (message.session.byteLength !== 0 && message.session.byteLength !== 16) {
      throw protocolError(`The error is refused: a session of ${message.session.byteLength} bytes`)
    }
    return message
  }
}

export const cancelCodec: Codec<CancelStep> = {
  preencode(state, message) {
    flags.preencode(state, 0)
    sessionId.preencode(state, message.session)
    anyNumber.preencode(state, message.step)
  },
  encode(state, message) {
    flags.encode(state, 0)
    sessionId.encode(state, message.session)
    anyNumber.encode(state, message.step)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = { session: sessionId.decode(state), step: anyNumber.decode(state) }
    decodeFields(state, bits)
    return message
  }
}

export const closeCodec: Codec<CloseSession> = {
  preencode(state, message) {
    flags.preencode(state, 0)
    sessionId.preencode(state, message.session)
  },
  encode(state, message) {
    flags.encode(state, 0)
    sessionId.encode(state, message.session)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = { session: sessionId.decode(state) }
    decodeFields(state, bits)
    return message
  }
}

export const pingCodec: Codec<Ping> = {
  preencode(state, message) {
    flags.preencode(state, 0)
    anyNumber.preencode(state, message.nonce)
  },
  encode(state, message) {
    flags.encode(state, 0)
    anyNumber.encode(state, message.nonce)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = { nonce: anyNumber.decode(state) }
    decodeFields(state, bits)
    return message
  }
}

export const pongCodec: Codec<Pong> = {
  preencode(state, message) {
    flags.preencode(state, 0)
    anyNumber.preencode(state, message.nonce)
    statusCodec.preencode(state, message.status)
  },
  encode(state, message) {
    flags.encode(state, 0)
    anyNumber.encode(state, message.nonce)
    statusCodec.encode(state, message.status)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = { nonce: anyNumber.decode(state), status: statusCodec.decode(state) }
    decodeFields(state, bits)
    return message
  }
}

/** @throws AppError LIMIT for what no receiver would take */
export function encodeMessage<T>(codec: Codec<T>, message: T): Uint8Array {
  const size = sizeOf(codec, message)
  const buffer = new Uint8Array(size)
  codec.encode({ start: 0, end: size, buffer }, message)
  return buffer
}

/** Reads a message; its bytes and tensors are views into `bytes`. @throws AppError, nothing else */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array): T {
  try {
    return codec.decode({ start: 0, end: bytes.byteLength, buffer: bytes })
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw protocolError(`The message is refused: ${why.toLowerCase()}`, { cause })
  }
}
