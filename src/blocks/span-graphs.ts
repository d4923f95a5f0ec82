// The graphs over one span's weights: for parts of the span, and for several sessions at once; all made on
// first use, counted against the memory budget, and let go when no session needs them. Knows no sessions.
import type { BlockSpan } from '../base/block-span.ts'
import type { Backend, CacheMemory } from './backend.ts'
import { Batch } from './engine/batch.ts'
import { SLOT_COUNTS } from './graph/slots.ts'
import { spanGraph } from './graph/span-graph.ts'
import type { MemoryBudget, Reservation } from './memory-budget.ts'
import { OrtPrepacked, OrtSession } from './ort/session.ts'
import { OrtWeights } from './ort/weights.ts'
import { graphBytes } from './sizes.ts'
import type { SpanPlan } from './span-plan.ts'
import type { WeightStore } from './weights/weight-store.ts'

/** A session of the engine and where its caches live. */
export interface LoadedGraph {
  readonly session: OrtSession
  readonly memory: CacheMemory
}

export interface SpanGraphsOptions {
  backend: Backend
  budget: MemoryBudget
  plan: SpanPlan
  store: WeightStore
  /** 0 float activations, 4 int8 activations. */
  accuracy: number
}

/** Graphs of parts that no session uses; one is soon wanted again, hundreds are memory for nothing. */
const MAX_UNUSED = 4

/**
 * A graph with so many times the slots is good enough: an empty one costs a percent or two of a run (8 blocks of
 * TinyLlama's shape, two threads), making a graph as much as twenty runs.
 */
const NEAR_SLOTS = 4
/** Runs after which one with fewer empty slots is made all the same. */
const WORTH_MAKING = 64

interface LoadedBatch {
  readonly batch: Batch
  readonly graph: LoadedGraph
  readonly reserved: Reservation
}

interface Entry {
  readonly range: BlockSpan
  readonly graph: LoadedGraph
  readonly reserved: Reservation
  /** By slots; undefined where there was no memory for it. */
  readonly batches: Map<number, LoadedBatch>
  /** How often a number of slots was wanted that is not made yet. */
  readonly wanted: Map<number, number>
  users: number
}

export class SpanGraphs implements Disposable {
  readonly #options: SpanGraphsOptions
  readonly #prepacked: OrtPrepacked
  readonly #weights: OrtWeights
  /** By range, that used last at the end. */
  readonly #entries = new Map<string, Entry>()

  constructor(options: SpanGraphsOptions) {
    this.#options = options
    this.#prepacked = new OrtPrepacked(options.backend.runtime)
    this.#weights = new OrtWeights(options.backend.runtime, options.store)
  }

  /** The graph of blocks [start, end); giveBack() it. @throws AppError NO_MEMORY */
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
    // Unused ones lie in the order in which they were last wanted.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    const unused = [...this.#entries].filter(([, { users }]) => users === 0)
    for (const [old, ended] of unused.slice(0, -MAX_UNUSED)) {
      this.#entries.delete(old)
      disposeEntry(ended)
    }
  }

  /**
   * The graph for `sessions` at once over blocks that somebody has taken. Undefined where they must run
   * one by one: there is no memory for it, or the device copies inputs when they are bound.
   */
  batch(range: BlockSpan, sessions: number): Batch | undefined {
    const entry = this.#entries.get(keyOf(range))
    const slots = SLOT_COUNTS.find((count) => count >= sessions)
    if (entry === undefined || slots === undefined || slots === 1) return undefined
    if (entry.graph.memory.copiesInputs) return undefined
    const known = entry.batches.get(slots)
    if (known !== undefined) return known.batch
    // A larger one will do: making one holds everybody up for longer than empty slots in many runs.
    const larger = [...entry.batches.values()].filter(({ batch }) => batch.slots >= slots)
    const smallest = larger.toSorted((a, b) => a.batch.slots - b.batch.slots)[0]
    const wanted = (entry.wanted.get(slots) ?? 0) + 1
    entry.wanted.set(slots, wanted)
    if (smallest !== undefined) {
      const isNear = smallest.batch.slots <= slots * NEAR_SLOTS
      if (isNear || wanted < WORTH_MAKING) return smallest.batch
    }
    const { backend, plan, budget } = this.#options
    // Sessions' memory comes first: one that is open must be able to grow.
    if (budget.freeBytes < 2 * graphBytes(range.end - range.start, slots)) return smallest?.batch
    const { graph, reserved } = this.#load(range, slots)
    const { runtime } = backend
    const batch = new Batch({ runtime, config: plan.config, graph, range, slots })
    entry.batches.set(slots, { batch, graph, reserved })
    return batch
  }

  #make(range: BlockSpan): Entry {
    const entry: Entry = {
      ...this.#load(range, 1),
      range,
      batches: new Map(),
      wanted: new Map(),
      users: 0
    }
    this.#entries.set(keyOf(range), entry)
    return entry
  }

  #load(range: BlockSpan, slots: number): { graph: LoadedGraph; reserved: Reservation } {
    const { backend, plan, store, accuracy, budget } = this.#options
    // The first is part of what a span needs to work at all.
    const size = this.#entries.size === 0 ? 0 : graphBytes(range.end - range.start, slots)
    const reserved = budget.reserve(size, `A graph of blocks ${range.start} to ${range.end}`)
    try {
      const { model, weightNames } = spanGraph(plan, range, { accuracy, slots })
      const weights = this.#weights.pick(weightNames)
      const session = new OrtSession(
        backend.runtime,
        { model, weights, prepacked: this.#prepacked },
        // Shapes of several sessions come in more combinations than are worth remembering.
        { ...backend.settings, memoryPattern: slots === 1 }
      )
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
    this.#prepacked[Symbol.dispose]()
    this.#weights[Symbol.dispose]()
  }
}

function keyOf({ start, end }: BlockSpan): string {
  return `${start}:${end}`
}

function disposeEntry({ graph, reserved, batches }: Entry): void {
  for (const loaded of batches.values()) {
    loaded.batch[Symbol.dispose]()
    disposeGraph(loaded.graph, loaded.reserved)
  }
  disposeGraph(graph, reserved)
}

function disposeGraph({ session, memory }: LoadedGraph, reserved: Reservation): void {
  memory[Symbol.dispose]()
  session[Symbol.dispose]()
  reserved[Symbol.dispose]()
}
