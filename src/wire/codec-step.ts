// The messages on the way of a token: step and result, with the records inside them.
// The layout is written at the head of protocol.ts. Tensors are written once and read as views.
import { overLimit, protocolError, unsupported } from '../base/errors.ts'
import {
  amount,
  bytesUpTo,
  decodeFields,
  flags,
  framed,
  key,
  listUpTo,
  present,
  roughUpTo,
  sessionId,
  stringUpTo,
  uintUpTo,
  type Codec,
  type State
} from './fields.ts'
import { DTYPES, LIMITS } from './protocol.ts'
import { rowBytes } from './tensor.ts'
import type {
  Hop,
  ServerStatus,
  Step,
  StepKind,
  StepResult,
  StepTrace,
  WireTensor
} from './types.ts'

const KINDS: readonly StepKind[] = ['forward', 'stateless', 'backward']

const anyNumber = uintUpTo(Number.MAX_SAFE_INTEGER, 'a number')
const queue = roughUpTo(Number.MAX_SAFE_INTEGER, 'the queue')
const freeTokens = roughUpTo(Number.MAX_SAFE_INTEGER, 'the free tokens')

export const statusCodec: Codec<ServerStatus> = {
  preencode(state, status) {
    flags.preencode(state, 0)
    queue.preencode(state, status.queue)
    freeTokens.preencode(state, status.freeTokens)
    amount.preencode(state, status.computeMs)
    amount.preencode(state, status.queueMs)
  },
  encode(state, status) {
    flags.encode(state, 0)
    queue.encode(state, status.queue)
    freeTokens.encode(state, status.freeTokens)
    amount.encode(state, status.computeMs)
    amount.encode(state, status.queueMs)
  },
  decode(state) {
    const bits = flags.decode(state)
    const status = {
      queue: queue.decode(state),
      freeTokens: freeTokens.decode(state),
      computeMs: amount.decode(state),
      queueMs: amount.decode(state)
    }
    decodeFields(state, bits)
    return status
  }
}

const block = uintUpTo(LIMITS.blocks, 'a block')

const hopCodec: Codec<Hop> = {
  preencode(state, hop) {
    flags.preencode(state, 0)
    key.preencode(state, hop.peer)
    block.preencode(state, hop.start)
    block.preencode(state, hop.end)
  },
  encode(state, hop) {
    flags.encode(state, 0)
    key.encode(state, hop.peer)
    block.encode(state, hop.start)
    block.encode(state, hop.end)
  },
  decode(state) {
    const bits = flags.decode(state)
    const hop = { peer: key.decode(state), start: block.decode(state), end: block.decode(state) }
    decodeFields(state, bits)
    if (hop.start >= hop.end) {
      throw protocolError(`The route is refused: it names blocks ${hop.start}:${hop.end}`)
    }
    return hop
  }
}
const route = listUpTo(LIMITS.hops, hopCodec, 'hops')

const traceCodec: Codec<StepTrace> = {
  preencode(state, trace) {
    flags.preencode(state, 0)
    key.preencode(state, trace.peer)
    statusCodec.preencode(state, trace.status)
  },
  encode(state, trace) {
    flags.encode(state, 0)
    key.encode(state, trace.peer)
    statusCodec.encode(state, trace.status)
  },
  decode(state) {
    const bits = flags.decode(state)
    const trace = { peer: key.decode(state), status: statusCodec.decode(state) }
    decodeFields(state, bits)
    return trace
  }
}
const traces = listUpTo(LIMITS.hops, traceCodec, 'servers passed')

const dtypeNumber = uintUpTo(Number.MAX_SAFE_INTEGER, 'the dtype')
const rows = uintUpTo(LIMITS.rows, 'the number of rows')
const columns = uintUpTo(LIMITS.columns, 'the number of columns')
const values = bytesUpTo(LIMITS.tensorBytes, 'the tensor')

export const tensorCodec: Codec<WireTensor> = {
  preencode(state, tensor) {
    dtypeNumber.preencode(state, DTYPES.indexOf(tensor.dtype))
    rows.preencode(state, tensor.rows)
    columns.preencode(state, tensor.columns)
    checkShape(tensor)
    values.preencode(state, tensor.data)
  },
  encode(state, tensor) {
    dtypeNumber.encode(state, DTYPES.indexOf(tensor.dtype))
    rows.encode(state, tensor.rows)
    columns.encode(state, tensor.columns)
    values.encode(state, tensor.data)
  },
  decode(state) {
    const number = dtypeNumber.decode(state)
    const dtype = DTYPES[number]
    if (!dtype) throw unsupported(`The tensor is refused: dtype ${number} is not known`)
    const tensor = {
      dtype,
      rows: rows.decode(state),
      columns: columns.decode(state),
      data: values.decode(state)
    }
    checkShape(tensor)
    return tensor
  }
}

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

const kind = uintUpTo(Number.MAX_SAFE_INTEGER, 'the kind of step')
const position = uintUpTo(LIMITS.tokens, 'a position')
const count = uintUpTo(LIMITS.rows, 'the number of tokens')
const patience = roughUpTo(LIMITS.waitMs, 'the deadline')
const adapter = stringUpTo(LIMITS.adapterBytes, 'the adapter')

function fieldsOfStep(step: Step): number {
  return (
    (step.prompts ? 1 : 0) |
    (step.adapter === undefined ? 0 : 2) |
    (step.receipt ? 4 : 0) |
    (step.answerRows === undefined ? 0 : 8) |
    (step.mirror ? 16 : 0)
  )
}

/** Walks the optional fields in the order of bits, for preencode and encode alike. */
function eachField(step: Step, visit: <T>(codec: Codec<T>, value: T) => void): void {
  if (step.prompts) visit(tensorCodec, step.prompts)
  if (step.adapter !== undefined) visit(adapter, step.adapter)
  if (step.receipt) visit(present, true)
  if (step.answerRows !== undefined) visit(count, step.answerRows)
  if (step.mirror) visit(present, true)
}

export const stepCodec: Codec<Step> = {
  preencode(state, step) {
    flags.preencode(state, fieldsOfStep(step))
    sessionId.preencode(state, step.session)
    anyNumber.preencode(state, step.step)
    kind.preencode(state, KINDS.indexOf(step.kind))
    position.preencode(state, step.start)
    count.preencode(state, step.count)
    patience.preencode(state, step.deadlineMs)
    route.preencode(state, step.route)
    tensorCodec.preencode(state, step.tensor)
    eachField(step, (codec, value) => framed(codec).preencode(state, value))
  },
  encode(state, step) {
    flags.encode(state, fieldsOfStep(step))
    sessionId.encode(state, step.session)
    anyNumber.encode(state, step.step)
    kind.encode(state, KINDS.indexOf(step.kind))
    position.encode(state, step.start)
    count.encode(state, step.count)
    patience.encode(state, step.deadlineMs)
    route.encode(state, step.route)
    tensorCodec.encode(state, step.tensor)
    eachField(step, (codec, value) => framed(codec).encode(state, value))
  },
  decode(state) {
    const bits = flags.decode(state)
    const step: { -readonly [K in keyof Step]: Step[K] } = {
      session: sessionId.decode(state),
      step: anyNumber.decode(state),
      kind: kindOf(kind.decode(state)),
      start: position.decode(state),
      count: count.decode(state),
      deadlineMs: patience.decode(state),
      route: route.decode(state),
      tensor: tensorCodec.decode(state)
    }
    decodeFields(state, bits, [
      (field) => (step.prompts = tensorCodec.decode(field)),
      (field) => (step.adapter = adapter.decode(field)),
      () => (step.receipt = true),
      (field) => (step.answerRows = count.decode(field)),
      () => (step.mirror = true)
    ])
    return step
  }
}

function kindOf(number: number): StepKind {
  const kind = KINDS[number]
  if (!kind) throw unsupported(`The step is refused: kind ${number} is not known`)
  return kind
}

const receipt = bytesUpTo(LIMITS.receiptBytes, 'the receipt')
const framedReceipt = framed(receipt)

export const resultCodec: Codec<StepResult> = {
  preencode(state, result) {
    flags.preencode(state, result.receipt ? 1 : 0)
    sessionId.preencode(state, result.session)
    anyNumber.preencode(state, result.step)
    position.preencode(state, result.start)
    count.preencode(state, result.count)
    block.preencode(state, result.end)
    traces.preencode(state, result.trace)
    tensorCodec.preencode(state, result.tensor)
    if (result.receipt) framedReceipt.preencode(state, result.receipt)
  },
  encode(state, result) {
    flags.encode(state, result.receipt ? 1 : 0)
    sessionId.encode(state, result.session)
    anyNumber.encode(state, result.step)
    position.encode(state, result.start)
    count.encode(state, result.count)
    block.encode(state, result.end)
    traces.encode(state, result.trace)
    tensorCodec.encode(state, result.tensor)
    if (result.receipt) framedReceipt.encode(state, result.receipt)
  },
  decode(state) {
    const bits = flags.decode(state)
    const result: { -readonly [K in keyof StepResult]: StepResult[K] } = {
      session: sessionId.decode(state),
      step: anyNumber.decode(state),
      start: position.decode(state),
      count: count.decode(state),
      end: block.decode(state),
      trace: traces.decode(state),
      tensor: tensorCodec.decode(state)
    }
    decodeFields(state, bits, [(field) => (result.receipt = receipt.decode(field))])
    return result
  }
}

/** Session and number of a message that cannot be decoded as a whole; -1 where no number follows. */
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
