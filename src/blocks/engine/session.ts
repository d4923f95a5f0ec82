// One inference session in the engine: its cache, its bindings, and one chunk of a step at a time, alone or
// as one of several (batch.ts). Knows one graph; the engine decides which session runs when.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Pointer } from 'bun:ffi'
import { badInput, overLimit } from '../../base/errors.ts'
import {
  EXTRA_ROWS,
  ropeIsFused,
  ROPE_START,
  SEQUENCE_LENGTHS,
  TOTAL_LENGTH
} from '../graph/attention.ts'
import { HIDDEN, RESULT } from '../graph/span-graph.ts'
import type { Backend } from '../backend.ts'
import { requireNumbers } from '../finite.ts'
import { KvCache } from './kv-cache.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import { OrtBinding } from '../ort/session.ts'
import { OrtTensor } from '../ort/value.ts'
import { bindInPlace, seatNames, type Seat } from './seat.ts'
import type { Span } from '../span.ts'
import type { LoadedGraph } from '../span-graphs.ts'

export class Session implements Disposable {
  readonly span: Span
  readonly range: BlockSpan
  readonly cache: KvCache
  readonly #backend: Backend
  readonly #graph: LoadedGraph
  readonly #binding: OrtBinding
  /** Scalars the graph reads: all tokens less one, all tokens, and the first new position. */
  readonly #lengths: Int32Array
  readonly #total: Int32Array
  readonly #start: BigInt64Array
  readonly #scalars = new Map<string, OrtTensor>()
  #length = 0

  constructor(backend: Backend, budget: MemoryBudget, span: Span, range: BlockSpan) {
    const { runtime } = backend
    const { config } = span.plan
    this.span = span
    this.range = range
    this.#backend = backend
    this.#graph = span.graph(range)
    this.#binding = new OrtBinding(this.#graph.session)
    this.#lengths = new Int32Array(new ArrayBuffer(4))
    this.#total = new Int32Array(new ArrayBuffer(4))
    this.#start = new BigInt64Array(new ArrayBuffer(8))
    this.#scalar(SEQUENCE_LENGTHS, OrtTensor.view(runtime, this.#lengths, 'i32', [1]))
    this.#scalar(TOTAL_LENGTH, OrtTensor.view(runtime, this.#total, 'i32', [1]))
    if (!ropeIsFused(config)) {
      this.#scalar(ROPE_START, OrtTensor.view(runtime, this.#start, 'i64', [1]))
    }
    this.cache = new KvCache({
      runtime,
      memory: this.#graph.memory,
      budget,
      config,
      start: range.start,
      end: range.end
    })
    this.cache.sit(ownSeat(this.#binding, range))
  }

  /** Tokens whose keys and values are held. */
  get length(): number {
    return this.#length
  }

  get cacheBytes(): number {
    return this.cache.sizeBytes
  }

  get capacity(): number {
    return this.cache.capacity
  }

  /** Checks a step and cuts the session to its start. @throws AppError BAD_INPUT, LIMIT, NO_MEMORY */
  begin(start: number, count: number, values: number): void {
    const { contextLength, hiddenSize } = this.span.plan.config
    if (!isCount(start) || start > this.#length) {
      throw badInput(`A step cannot start at ${start}: the session has ${this.#length} tokens`)
    }
    if (!isCount(count) || count === 0 || values !== count * hiddenSize) {
      throw badInput(
        `A step of ${count} rows of ${hiddenSize} values cannot run: ${values} values were given`
      )
    }
    if (start + count > contextLength) {
      throw overLimit(
        `A step to token ${start + count} cannot run: the model ends at ${contextLength}`,
        { hint: 'Begin a new session' }
      )
    }
    this.#length = start
    this.cache.ensure(start + count, start)
  }

  /**
   * Runs `count` rows of `hidden` after the tokens held and writes as many of `result`.
   * @throws AppError COMPUTE, with the length as it was before
   */
  run(hidden: Float32Array, result: Float32Array, options: Pointer | null): void {
    const { hiddenSize } = this.span.plan.config
    const { runtime } = this.#backend
    const count = hidden.length / hiddenSize
    const dims = [1, count, hiddenSize]
    using input = OrtTensor.view(runtime, hidden, 'f32', dims)
    using output = OrtTensor.view(runtime, result, 'f32', dims)
    this.#binding.input(HIDDEN, input)
    this.#binding.output(RESULT, output)
    this.#total[0] = this.#length + count + EXTRA_ROWS
    this.#lengths[0] = this.#length + count + EXTRA_ROWS - 1
    this.#start[0] = BigInt(this.#length)
    if (this.#graph.memory.copiesInputs) this.#bindScalars()
    this.#graph.session.run(this.#binding, options)
    requireNumbers(result, 'A step')
    this.#length += count
  }

  /** A batch has run the next `count` rows of it. */
  advance(count: number): void {
    this.#length += count
  }

  /** Takes over the first `length` tokens of another session over the same blocks. */
  copy(from: Session, length: number): void {
    if (!isCount(length) || length > from.length) {
      throw badInput(`${length} tokens cannot be copied: the session has ${from.length}`)
    }
    this.cache.copy(from.cache, length)
    this.#length = length
  }

  /** Forgets all tokens from `length` on. */
  cut(length: number): void {
    this.#length = Math.min(this.#length, length)
  }

  #scalar(name: string, tensor: OrtTensor): void {
    this.#scalars.set(name, tensor)
    this.#binding.input(name, tensor)
  }

  #bindScalars(): void {
    for (const [name, tensor] of this.#scalars) this.#binding.input(name, tensor)
  }

  [Symbol.dispose](): void {
    this.#binding[Symbol.dispose]()
    this.cache[Symbol.dispose]()
    this.span.release(this.#graph)
    for (const tensor of this.#scalars.values()) tensor[Symbol.dispose]()
  }
}

function ownSeat(binding: OrtBinding, range: BlockSpan): Seat {
  const names = seatNames(range)
  return {
    bind: (at, tensor) => bindInPlace(binding, names[at], tensor),
    // The binding ends with its session.
    vacate() {}
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}
