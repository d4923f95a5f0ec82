// Training between peers: pieces of calls and answers, and what they hold. The layout is described
// in protocol.ts.
import { float32 } from 'compact-encoding'
import { overLimit, protocolError, unsupported } from '../../base/errors.ts'
import { LIMITS } from '../protocol.ts'
import {
  TUNE_KINDS,
  type Tune,
  type TuneAnswer,
  type TuneCall,
  type Tuned,
  type WireAdapterShape,
  type WireDropout
} from '../types.ts'
import { errorCodec } from './control.ts'
import {
  anyNumber,
  bytesUpTo,
  framed,
  key,
  listUpTo,
  oneOf,
  sizeOf,
  stringUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { checked, mark, optional, record } from './record.ts'
import { statusCodec } from './step.ts'

const left = uintUpTo(LIMITS.callBytes, 'the length of a call')
const piece = bytesUpTo(LIMITS.tuneBytes, 'a piece')

export const tuneCodec: Codec<Tune> = record<Tune>({
  request: anyNumber,
  left,
  data: piece,
  cancel: mark
})

export const tunedCodec: Codec<Tuned> = record<Tuned>({
  request: anyNumber,
  left,
  data: piece,
  failure: optional(errorCodec)
})

/** Floats as they are written: whole ones, each a number. */
const floats = checked(bytesUpTo(LIMITS.callBytes, 'the floats'), (bytes) => {
  if (bytes.byteLength % 4 !== 0) throw protocolError('The call is refused: a float is cut off')
})

const finite: Codec<number> = checked(float32, (value) => {
  if (!Number.isFinite(value)) throw protocolError('The call is refused: a scale is no number')
})

const target = stringUpTo(LIMITS.targetBytes, 'a target')

export const shapeCodec: Codec<WireAdapterShape> = record<WireAdapterShape>({
  rank: anyNumber,
  scale: finite,
  targets: listUpTo(LIMITS.targets, target, 'targets')
})

const seed = uintUpTo(2 ** 32 - 1, 'a seed')

export const dropoutCodec: Codec<WireDropout> = record<WireDropout>({
  share: finite,
  seeds: listUpTo(LIMITS.sequences, seed, 'seeds')
})

const block = uintUpTo(LIMITS.blocks, 'a block')

export const callCodec: Codec<TuneCall> = checked(
  record<TuneCall>({
    kind: oneOf(TUNE_KINDS, 'the kind of a call', (number) =>
      unsupported(`The call is refused: kind ${number} is not known`)
    ),
    model: key,
    start: block,
    end: block,
    deadlineMs: uintUpTo(LIMITS.waitMs, 'the patience'),
    lengths: optional(listUpTo(LIMITS.sequences, anyNumber, 'sequences')),
    hidden: optional(floats),
    gradient: optional(floats),
    prompts: optional(floats),
    adapter: optional(key),
    shape: optional(shapeCodec),
    values: optional(floats),
    dropout: optional(dropoutCodec)
  }),
  ({ start, end, lengths = [] }) => {
    if (start >= end) throw protocolError('The call is refused: it names no blocks')
    const rows = lengths.reduce((sum, length) => sum + length, 0)
    if (rows > LIMITS.tokens) throw overLimit(`The call is refused: it has ${rows} rows`)
  }
)

export const answerCodec: Codec<TuneAnswer> = record<TuneAnswer>({
  hidden: floats,
  status: statusCodec,
  adapterGradient: optional(floats),
  promptGradient: optional(floats)
})

const identified = framed(shapeCodec)
/** What an adapter's id is the hash of. */
export function adapterBytes(shape: WireAdapterShape, numbers: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(sizeOf(identified, shape) + sizeOf(floats, numbers))
  const state = { start: 0, end: buffer.byteLength, buffer }
  identified.encode(state, shape)
  floats.encode(state, numbers)
  return buffer
}
