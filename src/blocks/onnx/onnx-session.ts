// One session of an ONNX graph: its caches, its bindings, and runs over its rows. Knows one graph;
// the engine decides which session runs when.
import type { BlockSpan } from '../../base/block-span.ts'
import { ropeIsFused, ROPE_START, SEQUENCE_LENGTHS, TOTAL_LENGTH } from '../graph/attention.ts'
import { HIDDEN, RESULT } from '../graph/span-graph.ts'
import type { SpanSession } from '../engine/loaded-span.ts'
import { requireNumbers } from '../finite.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import { OrtBinding } from '../ort/session.ts'
import { OrtTensor } from '../ort/value.ts'
import type { Backend } from './backend.ts'
import { KvCache } from './kv-cache.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { LoadedGraph } from './span-graphs.ts'

/** What a session needs of its span; OnnxSpan implements it. */
export interface SessionHost {
  readonly plan: SpanPlan
  graph(range: BlockSpan): LoadedGraph
  release(graph: LoadedGraph): void
  /** Adds a session to, or removes it from, those whose memory is counted. */
  count(session: OnnxSession, isOpen: boolean): void
}

export class OnnxSession implements SpanSession {
  readonly range: BlockSpan
  readonly cache: KvCache
  readonly #span: SessionHost
  readonly #backend: Backend
  readonly #budget: MemoryBudget
  readonly #graph: LoadedGraph
  readonly #binding: OrtBinding
  /**
   * Scalars that the graph reads: number of tokens less one, number of tokens, first new position.
   */
  readonly #lengths: Int32Array
  readonly #total: Int32Array
  readonly #start: BigInt64Array
  readonly #scalars = new Map<string, OrtTensor>()
  #length = 0

  constructor(backend: Backend, budget: MemoryBudget, span: SessionHost, range: BlockSpan) {
    const { runtime } = backend
    const { config } = span.plan
    this.range = range
    this.#span = span
    this.#backend = backend
    this.#budget = budget
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
    const { memory } = this.#graph
    this.cache = new KvCache({ runtime, memory, budget, config, range, binding: this.#binding })
    span.count(this, true)
  }

  get length(): number {
    return this.#length
  }

  ensure(start: number, end: number): void {
    this.#length = start
    this.cache.ensure(end, start)
  }

  /**
   * Runs all rows of `hidden` after the tokens it holds, into `result`.
   * @throws AppError COMPUTE; the length is then as before
   */
  run(hidden: Float32Array, result: Float32Array): void {
    const { hiddenSize } = this.#span.plan.config
    const { runtime } = this.#backend
    const count = hidden.length / hiddenSize
    const dims = [1, count, hiddenSize]
    using input = OrtTensor.view(runtime, hidden, 'f32', dims)
    using output = OrtTensor.view(runtime, result, 'f32', dims)
    this.#binding.input(HIDDEN, input)
    this.#binding.output(RESULT, output)
    this.#total[0] = this.#length + count
    this.#lengths[0] = this.#length + count - 1
    this.#start[0] = BigInt(this.#length)
    if (this.#graph.memory.copiesInputs) this.#bindScalars()
    this.#graph.session.run(this.#binding)
    requireNumbers(result, 'A step')
    this.#length += count
  }

  cut(length: number): void {
    this.#length = Math.min(this.#length, length)
  }

  fork(length: number): OnnxSession {
    const forked = new OnnxSession(this.#backend, this.#budget, this.#span, this.range)
    try {
      forked.cache.copy(this.cache, length)
      forked.#length = length
      return forked
    } catch (error) {
      forked[Symbol.dispose]()
      throw error
    }
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
    this.#span.count(this, false)
    this.#span.release(this.#graph)
    for (const tensor of this.#scalars.values()) tensor[Symbol.dispose]()
  }
}
