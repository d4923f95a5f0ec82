// The messages that open a session and that name its prefixes: open, opened, keep. The layout is
// described in protocol.ts.
import { float32 } from 'compact-encoding'
import { protocolError } from '../../base/errors.ts'
import { statusCodec } from './step.ts'
import { anyNumber, key, listUpTo, sessionId, uintUpTo, type Codec } from './fields.ts'
import { LIMITS } from '../protocol.ts'
import { bare, checked, mark, optional, record } from './record.ts'
import type { WireAdapter, KeepPrefix, OpenSession, PrefixMark, SessionOpened } from '../types.ts'

const block = uintUpTo(LIMITS.blocks, 'a block')
const tokens = uintUpTo(LIMITS.tokens, 'the number of tokens')

const prefix = bare<PrefixMark>({ length: tokens, label: sessionId })
const prefixes = listUpTo(LIMITS.marks, prefix, 'marks')

const weight: Codec<number> = checked(float32, (value) => {
  if (!Number.isFinite(value)) throw protocolError('The opening is refused: a weight is no number')
})

const adapter = bare<WireAdapter>({ id: key, weight })

export const openCodec: Codec<OpenSession> = record<OpenSession>({
  session: sessionId,
  model: key,
  start: block,
  end: block,
  maxTokens: tokens,
  prefix: optional(prefixes),
  forget: mark,
  adapters: optional(listUpTo(LIMITS.adapters, adapter, 'adapters'))
})

export const openedCodec: Codec<SessionOpened> = record<SessionOpened>({
  session: sessionId,
  status: statusCodec,
  held: optional(tokens),
  adapted: mark
})

export const keepCodec: Codec<KeepPrefix> = record<KeepPrefix>({
  session: sessionId,
  step: anyNumber,
  marks: prefixes,
  shared: optional(listUpTo(LIMITS.sharedMarks, prefix, 'shared marks'))
})
