// The messages around a session's opening, and those that name prefixes of it: open, opened, keep.
// The layout is written at the head of protocol.ts.
import { statusCodec } from './codec-step.ts'
import {
  decodeFields,
  flags,
  framed,
  key,
  listUpTo,
  present,
  sessionId,
  uintUpTo,
  type Codec
} from './fields.ts'
import { LIMITS } from './protocol.ts'
import type { KeepPrefix, OpenSession, PrefixMark, SessionOpened } from './types.ts'

const block = uintUpTo(LIMITS.blocks, 'a block')
const tokens = uintUpTo(LIMITS.tokens, 'the number of tokens')
const step = uintUpTo(Number.MAX_SAFE_INTEGER, 'a step')

const markCodec: Codec<PrefixMark> = {
  preencode(state, mark) {
    tokens.preencode(state, mark.length)
    sessionId.preencode(state, mark.label)
  },
  encode(state, mark) {
    tokens.encode(state, mark.length)
    sessionId.encode(state, mark.label)
  },
  decode: (state) => ({ length: tokens.decode(state), label: sessionId.decode(state) })
}

const marks = listUpTo(LIMITS.marks, markCodec, 'marks')
const framedMarks = framed(marks)
const shared = listUpTo(LIMITS.sharedMarks, markCodec, 'shared marks')
const framedShared = framed(shared)
const framedTokens = framed(tokens)
const framedPresent = framed(present)

function fieldsOfOpen(message: OpenSession): number {
  return (message.prefix ? 1 : 0) | (message.forget ? 2 : 0)
}

export const openCodec: Codec<OpenSession> = {
  preencode(state, message) {
    flags.preencode(state, fieldsOfOpen(message))
    sessionId.preencode(state, message.session)
    key.preencode(state, message.model)
    block.preencode(state, message.start)
    block.preencode(state, message.end)
    tokens.preencode(state, message.maxTokens)
    if (message.prefix) framedMarks.preencode(state, message.prefix)
    if (message.forget) framedPresent.preencode(state, true)
  },
  encode(state, message) {
    flags.encode(state, fieldsOfOpen(message))
    sessionId.encode(state, message.session)
    key.encode(state, message.model)
    block.encode(state, message.start)
    block.encode(state, message.end)
    tokens.encode(state, message.maxTokens)
    if (message.prefix) framedMarks.encode(state, message.prefix)
    if (message.forget) framedPresent.encode(state, true)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = {
      session: sessionId.decode(state),
      model: key.decode(state),
      start: block.decode(state),
      end: block.decode(state),
      maxTokens: tokens.decode(state)
    }
    let prefix: readonly PrefixMark[] | undefined
    decodeFields(state, bits, [(field) => (prefix = marks.decode(field))])
    return {
      ...message,
      ...(prefix ? { prefix } : {}),
      ...((bits & 2) !== 0 ? { forget: true } : {})
    }
  }
}

export const openedCodec: Codec<SessionOpened> = {
  preencode(state, message) {
    flags.preencode(state, message.held ? 1 : 0)
    sessionId.preencode(state, message.session)
    statusCodec.preencode(state, message.status)
    if (message.held) framedTokens.preencode(state, message.held)
  },
  encode(state, message) {
    flags.encode(state, message.held ? 1 : 0)
    sessionId.encode(state, message.session)
    statusCodec.encode(state, message.status)
    if (message.held) framedTokens.encode(state, message.held)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = { session: sessionId.decode(state), status: statusCodec.decode(state) }
    let held = 0
    decodeFields(state, bits, [(field) => (held = tokens.decode(field))])
    return held > 0 ? { ...message, held } : message
  }
}

export const keepCodec: Codec<KeepPrefix> = {
  preencode(state, message) {
    flags.preencode(state, message.shared ? 1 : 0)
    sessionId.preencode(state, message.session)
    step.preencode(state, message.step)
    marks.preencode(state, message.marks)
    if (message.shared) framedShared.preencode(state, message.shared)
  },
  encode(state, message) {
    flags.encode(state, message.shared ? 1 : 0)
    sessionId.encode(state, message.session)
    step.encode(state, message.step)
    marks.encode(state, message.marks)
    if (message.shared) framedShared.encode(state, message.shared)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message = {
      session: sessionId.decode(state),
      step: step.decode(state),
      marks: marks.decode(state)
    }
    let forAll: readonly PrefixMark[] | undefined
    decodeFields(state, bits, [(field) => (forAll = shared.decode(field))])
    return forAll ? { ...message, shared: forAll } : message
  }
}
