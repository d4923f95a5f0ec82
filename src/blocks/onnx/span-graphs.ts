// The graphs over one span's weights, for parts of the span: built on first use, counted against
// the memory budget, and dropped when no session needs them. Knows no sessions.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Backend, CacheMemory } from './backend.ts'
import { spanGraph } from '../graph/span-graph.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import { OrtSession } from '../ort/session.ts'
import { OrtWeights } from '../ort/weights.ts'
import { graphBytes } from '../sizes.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { WeightStore } from '../weights/weight-store.ts'

/** A session of onnxruntime and the memory of its caches. */
export interface LoadedGraph {
  readonly session: OrtSession
  readonly memory: CacheMemory
}

export interface SpanGraphsOptions {
  backend: Backend
  budget: MemoryBudget
  plan: SpanPlan
  store: WeightStore
  /** 0: float activations; 4: int8 activations. */
  accuracy: number
}

/**
 * Graphs that are kept although no session uses them: one is soon needed again, hundreds would
 * waste memory.
 */
const MAX_UNUSED = 4

interface Entry {
  readonly graph: LoadedGraph
  readonly reserved: Reservation
  users: number
}

export class SpanGraphs implements Disposable {
  readonly #options: SpanGraphsOptions
  readonly #weights: OrtWeights
  /** By range, the most recently used last. */
  readonly #entries = new Map<string, Entry>()

  constructor(options: SpanGraphsOptions) {
    this.#options = options
    this.#weights = new OrtWeights(options.backend.runtime, options.store)
  }

  /** The graph of blocks [start, end). giveBack() it. @throws AppError NO_MEMORY */
  take(range: BlockSpan): LoadedGraph {
    const entry = this.#entries.get(keyOf(range)) ?? this.#make(range)
    entry.users++
    return entry.graph
  }

  giveBack(graph: LoadedGraph): void {
    const found = [...this.#entries].find(([, entry]) => entry.graph === graph)
    if (found === undefined) return
    const [key, entry] = found
    entry.users--
    // Unused graphs stay in the order of their last use.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    const unused = [...this.#entries].filter(([, { users }]) => users === 0)
    for (const [old, ended] of unused.slice(0, -MAX_UNUSED)) {
      this.#entries.delete(old)
      disposeEntry(ended)
    }
  }

  #make(range: BlockSpan): Entry {
    const entry: Entry = { ...this.#load(range), users: 0 }
    this.#entries.set(keyOf(range), entry)
    return entry
  }

  #load(range: BlockSpan): { graph: LoadedGraph; reserved: Reservation } {
    const { backend, plan, store, accuracy, budget } = this.#options
    // The first graph is part of what every span needs.
    const size = this.#entries.size === 0 ? 0 : graphBytes(range.end - range.start)
    const reserved = budget.reserve(size, `A graph of blocks ${range.start} to ${range.end}`)
    try {
      const { model, weightNames } = spanGraph(plan, range, accuracy)
      const weights = this.#weights.pick(weightNames)
      const session = new OrtSession(backend.runtime, { model, weights }, backend.settings)
      store.trim()
      return { graph: { session, memory: backend.cacheMemory(session) }, reserved }
    } catch (error) {
      reserved[Symbol.dispose]()
      throw error
    }
  }

  [Symbol.dispose](): void {
    for (const entry of this.#entries.values()) disposeEntry(entry)
    this.#entries.clear()
    this.#weights[Symbol.dispose]()
  }
}

function keyOf({ start, end }: BlockSpan): string {
  return `${start}:${end}`
}

function disposeEntry({ graph: { session, memory }, reserved }: Entry): void {
  memory[Symbol.dispose]()
  session[Symbol.dispose]()
  reserved[Symbol.dispose]()
}
