// The messages of a step, step and result, with the records inside them. The layout is described in
// protocol.ts. Tensors are written once and read as views.
import { overLimit, protocolError, unsupported } from '../../base/errors.ts'
import {
  amount,
  anyNumber,
  bytesUpTo,
  flags,
  key,
  listUpTo,
  oneOf,
  roughUpTo,
  sessionId,
  stringUpTo,
  uintUpTo,
  type Codec,
  type State
} from './fields.ts'
import { DTYPES, LIMITS } from '../protocol.ts'
import { bare, checked, checkedWhenRead, mark, optional, record } from './record.ts'
import { rowBytes } from '../tensor.ts'
import type {
  Hop,
  ServerStatus,
  Step,
  StepKind,
  StepResult,
  StepTrace,
  WireTensor
} from '../types.ts'

const KINDS: readonly StepKind[] = ['forward', 'stateless', 'backward']

export const statusCodec: Codec<ServerStatus> = record<ServerStatus>({
  queue: roughUpTo(Number.MAX_SAFE_INTEGER, 'the queue'),
  freeTokens: roughUpTo(Number.MAX_SAFE_INTEGER, 'the free tokens'),
  computeMs: amount,
  queueMs: amount,
  trained: optional(roughUpTo(Number.MAX_SAFE_INTEGER, 'the tokens of trainings'))
})

const block = uintUpTo(LIMITS.blocks, 'a block')

const hop = checkedWhenRead(record<Hop>({ peer: key, start: block, end: block }), (span) => {
  if (span.start < span.end) return
  throw protocolError(`The route is refused: it names blocks ${span.start}:${span.end}`)
})

const trace = record<StepTrace>({ peer: key, status: statusCodec })

export const tensorCodec: Codec<WireTensor> = checked(
  bare<WireTensor>({
    dtype: oneOf(DTYPES, 'the dtype', (number) =>
      unsupported(`The tensor is refused: dtype ${number} is not known`)
    ),
    rows: uintUpTo(LIMITS.rows, 'the number of rows'),
    columns: uintUpTo(LIMITS.columns, 'the number of columns'),
    data: bytesUpTo(LIMITS.tensorBytes, 'the tensor')
  }),
  checkShape
)

function checkShape({ dtype, rows, columns, data }: WireTensor): void {
  const wanted = rows * rowBytes(dtype, columns)
  if (wanted > LIMITS.tensorBytes) {
    throw overLimit(`The tensor is refused: ${wanted} bytes, over ${LIMITS.tensorBytes}`)
  }
  if (rows < 1 || columns < 1 || data.byteLength !== wanted) {
    throw protocolError(
      `The tensor is refused: ${data.byteLength} bytes for ${rows} x ${columns} of ${dtype}`
    )
  }
}

const position = uintUpTo(LIMITS.tokens, 'a position')
const count = uintUpTo(LIMITS.rows, 'the number of tokens')

export const stepCodec: Codec<Step> = record<Step>({
  session: sessionId,
  step: anyNumber,
  kind: oneOf(KINDS, 'the kind of step', (number) =>
    unsupported(`The step is refused: kind ${number} is not known`)
  ),
  start: position,
  count,
  deadlineMs: roughUpTo(LIMITS.waitMs, 'the deadline'),
  route: listUpTo(LIMITS.hops, hop, 'hops'),
  tensor: tensorCodec,
  prompts: optional(tensorCodec),
  adapter: optional(stringUpTo(LIMITS.adapterBytes, 'the adapter')),
  receipt: mark,
  answerRows: optional(count),
  mirror: mark
})

export const resultCodec: Codec<StepResult> = record<StepResult>({
  session: sessionId,
  step: anyNumber,
  start: position,
  count,
  end: block,
  trace: listUpTo(LIMITS.hops, trace, 'servers passed'),
  tensor: tensorCodec,
  receipt: optional(bytesUpTo(LIMITS.receiptBytes, 'the receipt'))
})

/**
 * Session and number of a message that cannot be decoded as a whole; -1 where no number follows.
 */
export function readTarget(
  bytes: Uint8Array
): { readonly session: Uint8Array; readonly step: number } | undefined {
  const state: State = { start: 0, end: bytes.byteLength, buffer: bytes }
  try {
    flags.decode(state)
    const session = sessionId.decode(state)
    return { session, step: state.start < state.end ? anyNumber.decode(state) : -1 }
  } catch {
    return undefined
  }
}
