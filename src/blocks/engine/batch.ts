// Steps of several sessions in one run: matrices see all rows, attention each session's own, in the slot
// where that session's caches are bound. Who sat in a slot last stays there, so that a group that decodes
// together binds nothing anew. Knows one graph; the engine decides who runs with whom.
import type { BlockSpan } from '../../base/block-span.ts'
import { toAppError, type AppError } from '../../base/errors.ts'
import type { ModelConfig } from '../../model/types.ts'
import { layoutOf, takeSeats } from './batch-layout.ts'
import { requireNumbers } from '../finite.ts'
import { ropeIsFused, SEQUENCE_LENGTHS, TOTAL_LENGTH } from '../graph/attention.ts'
import { ROW_POSITIONS, SLOT_KEPT, SLOT_ROWS, SLOT_SIZES, slotName } from '../graph/slots.ts'
import { HIDDEN, RESULT } from '../graph/span-graph.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import { OrtBinding } from '../ort/session.ts'
import { OrtTensor, type ElementType } from '../ort/value.ts'
import { bindInPlace, seatNames, type Seat } from './seat.ts'
import type { Session } from './session.ts'
import type { LoadedGraph } from '../span-graphs.ts'

/** One session's rows in a run. */
export interface BatchPart {
  readonly session: Session
  /** (count, hiddenSize) */
  readonly hidden: Float32Array
  /** Of the same shape, written. */
  readonly result: Float32Array
}

export interface BatchOptions {
  runtime: OrtRuntime
  config: ModelConfig
  graph: LoadedGraph
  range: BlockSpan
  slots: number
}

/** Rows of room in what an empty slot writes to. */
const SCRATCH_ROWS = 8

interface Slot {
  readonly seat: Seat
  occupant: Session | undefined
}

export class Batch implements Disposable {
  /** Sessions at once. */
  readonly slots: number
  readonly #options: BatchOptions
  readonly #binding: OrtBinding
  readonly #slots: readonly Slot[]
  readonly #lengths: Int32Array
  readonly #totals: Int32Array
  /** Of all empty slots and blocks: what they write is read by nobody. */
  readonly #scratch: readonly [OrtTensor, OrtTensor]
  readonly #owned: OrtTensor[] = []

  constructor(options: BatchOptions) {
    const { runtime, config, graph, slots } = options
    this.slots = slots
    this.#options = options
    this.#binding = new OrtBinding(graph.session)
    this.#lengths = new Int32Array(new ArrayBuffer(4 * slots))
    this.#totals = new Int32Array(new ArrayBuffer(4 * slots))
    const dims = [1, config.kvHeadCount, SCRATCH_ROWS, config.headDim]
    const scratch = (): OrtTensor => {
      const tensor = OrtTensor.allocate(runtime, graph.memory.allocator, 'f32', dims)
      tensor.bytes().fill(0)
      return tensor
    }
    this.#scratch = [scratch(), scratch()]
    this.#owned.push(...this.#scratch)
    this.#slots = Array.from({ length: slots }, (_, at) => this.#slot(at))
  }

  /**
   * Runs the parts' rows after the tokens that their sessions hold. Answers for each part what went wrong
   * with it alone; such a session is as long as before.
   * @throws AppError COMPUTE when nothing came out for anybody
   */
  run(parts: readonly BatchPart[]): (AppError | undefined)[] {
    const { runtime, config } = this.#options
    const width = config.hiddenSize
    const bySlot = this.#seated(parts)
    const layout = layoutOf(bySlot.map((part) => (part ? part.hidden.length / width : 0)))
    const hidden = new Float32Array(layout.count * width)
    const result = new Float32Array(layout.count * width)
    for (const [slot, part] of bySlot.entries()) {
      hidden.set(part?.hidden ?? [], (layout.first[slot] ?? 0) * width)
      const length = part?.session.length ?? 0
      const size = Number(layout.sizes[slot])
      this.#totals[slot] = length + size
      this.#lengths[slot] = length + size - 1
    }
    const { count } = layout
    const tensors: Disposable[] = []
    const view = (values: NodeJS.TypedArray, type: ElementType, dims: number[]): OrtTensor => {
      const tensor = OrtTensor.view(runtime, values, type, dims)
      tensors.push(tensor)
      return tensor
    }
    const input = (name: string, values: BigInt64Array, dims = [values.length]): void =>
      this.#binding.input(name, view(values, 'i64', dims))
    this.#binding.input(HIDDEN, view(hidden, 'f32', [1, count, width]))
    this.#binding.output(RESULT, view(result, 'f32', [1, count, width]))
    input(SLOT_ROWS, layout.rows)
    input(SLOT_SIZES, layout.sizes)
    input(SLOT_KEPT, layout.kept)
    if (!ropeIsFused(config)) input(ROW_POSITIONS, positionsOf(bySlot, width, count), [1, count])
    try {
      this.#options.graph.session.run(this.#binding, null)
    } finally {
      for (const tensor of tensors) tensor[Symbol.dispose]()
    }
    const failures = new Map<BatchPart, AppError>()
    for (const [slot, part] of bySlot.entries()) {
      if (part === undefined) continue
      const from = (layout.first[slot] ?? 0) * width
      part.result.set(result.subarray(from, from + part.hidden.length))
      const failure = failureOf(part)
      if (failure) failures.set(part, failure)
      else part.session.advance(part.hidden.length / width)
    }
    return parts.map((part) => failures.get(part))
  }

  /** Each slot's part, its session bound there. */
  #seated(parts: readonly BatchPart[]): (BatchPart | undefined)[] {
    const before = this.#slots.map(({ occupant }) => occupant)
    const bySlot: (BatchPart | undefined)[] = before.map(() => undefined)
    const taken = takeSeats(
      before,
      parts.map(({ session }) => session)
    )
    for (const [index, at] of taken.entries()) {
      const part = parts[index]
      const slot = this.#slots[at]
      if (part === undefined || slot === undefined) throw new RangeError('More parts than slots')
      bySlot[at] = part
      if (slot.occupant === part.session) continue
      slot.occupant?.cache.leave(slot.seat)
      slot.occupant = part.session
      part.session.cache.sit(slot.seat)
    }
    // Whoever sits here without a part must not be written to.
    for (const [at, { occupant, seat }] of this.#slots.entries()) {
      if (occupant === undefined || bySlot[at] !== undefined) continue
      occupant.cache.leave(seat)
      seat.vacate()
    }
    return bySlot
  }

  #slot(at: number): Slot {
    const { runtime, range } = this.#options
    const names = seatNames(range, at)
    const slot: Slot = {
      occupant: undefined,
      seat: {
        bind: (index, tensor) => bindInPlace(this.#binding, names[index], tensor),
        vacate: () => {
          slot.occupant = undefined
          for (const [index, each] of names.entries()) {
            bindInPlace(this.#binding, each, this.#scratch[index % 2 === 0 ? 0 : 1])
          }
        }
      }
    }
    slot.seat.vacate()
    for (const [name, values] of [
      [SEQUENCE_LENGTHS, this.#lengths],
      [TOTAL_LENGTH, this.#totals]
    ] as const) {
      const tensor = OrtTensor.view(runtime, values.subarray(at, at + 1), 'i32', [1])
      this.#owned.push(tensor)
      this.#binding.input(slotName(name, at), tensor)
    }
    return slot
  }

  [Symbol.dispose](): void {
    for (const { occupant, seat } of this.#slots) occupant?.cache.leave(seat)
    this.#binding[Symbol.dispose]()
    for (const tensor of this.#owned) tensor[Symbol.dispose]()
  }
}

/** Every row's position in its session. */
function positionsOf(
  bySlot: readonly (BatchPart | undefined)[],
  width: number,
  count: number
): BigInt64Array {
  const positions = new BigInt64Array(count)
  let at = 0
  for (const part of bySlot) {
    const rows = (part?.hidden.length ?? 0) / width
    for (let row = 0; row < rows; row++) positions[at++] = BigInt((part?.session.length ?? 0) + row)
  }
  return positions
}

function failureOf(part: BatchPart): AppError | undefined {
  try {
    requireNumbers(part.result, 'A step')
    return undefined
  } catch (error) {
    return toAppError(error)
  }
}
