// The adapters of a span of our own kernels: their matrices in the kernels' order, and what sets of
// them add at the slots of the span's program. Knows no sessions beyond how many use a set.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput } from '../../base/errors.ts'
import {
  makeAdditions,
  type Additions,
  type LowRank,
  type SlotAddition
} from '../../kernels/additions.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import { blockNumbers, targetParts } from '../train/adapter-shape.ts'
import type { StepAdapter } from '../train/train-types.ts'
import type { LoadedAdapter, SpanAdapter, Weighted } from './adapter-types.ts'

/** Slots of a program, by block and matrix group, and of each block's incoming rows. */
export class AdapterSlotNames {
  readonly #products = new Map<string, number>()
  readonly #prompts = new Map<number, number>()

  setProduct(block: number, group: string, slot: number): void {
    this.#products.set(`${block} ${group}`, slot)
  }

  setPrompt(block: number, slot: number): void {
    this.#prompts.set(block, slot)
  }

  product(block: number, group: string): number {
    return known(this.#products.get(`${block} ${group}`))
  }

  prompt(block: number): number {
    return known(this.#prompts.get(block))
  }
}

function known(slot: number | undefined): number {
  if (slot === undefined) throw new TypeError('The program has no such slot')
  return slot
}

export interface SpanAdaptersOptions {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  /** Of the span's program. */
  readonly slots: number
  readonly names: AdapterSlotNames
  readonly budget: MemoryBudget
}

/** A low-rank addition at its slot. */
interface Placed {
  readonly slot: number
  readonly lora: LowRank
}

/** What several adapters add together, while sessions use it. */
export interface AdapterSet extends Disposable {
  readonly additions: Additions
  /** One more user, who disposes of it, too. */
  share(): void
}

export class SpanAdapters {
  readonly #options: SpanAdaptersOptions
  /** Sets in use by adapters and weights: sessions with the same one run as one group. */
  readonly #sets = new Map<string, KeptSet>()
  #next = 1

  constructor(options: SpanAdaptersOptions) {
    this.#options = options
  }

  /** @throws AppError BAD_INPUT, UNSUPPORTED, NO_MEMORY */
  load(adapter: SpanAdapter): SpanAdapterMemory {
    const { budget } = this.#options
    const { lora, prompts } = adapter
    const positions = this.#check(adapter)
    const sizeBytes = this.#loraBytes(lora) + (prompts?.byteLength ?? 0)
    const reserved = budget.reserve(sizeBytes, 'An adapter', 'Give the server more memory')
    try {
      const placed = lora === undefined ? [] : this.#place(lora)
      const own = prompts && { values: fixed(prompts), positions }
      return new SpanAdapterMemory(this.#next++, { placed, prompts: own, reserved })
    } catch (error) {
      reserved[Symbol.dispose]()
      throw error
    }
  }

  /**
   * What adapters add, in this order. @throws AppError BAD_INPUT if two have prompts or a weight is
   * no number
   */
  open(adapters: readonly Weighted<LoadedAdapter>[]): AdapterSet {
    const all = adapters.map(({ adapter, weight }) => {
      if (!(adapter instanceof SpanAdapterMemory)) throw new TypeError('Another span has it')
      if (!Number.isFinite(weight)) throw badInput(`An adapter cannot count ${weight} times`)
      return { adapter, weight }
    })
    const key = all.map(({ adapter: { id }, weight }) => `${id} ${weight}`).join(', ')
    const found = this.#sets.get(key)
    if (found !== undefined) {
      found.share()
      return found
    }
    const set = new KeptSet(this.#additions(all), () => this.#sets.delete(key))
    this.#sets.set(key, set)
    return set
  }

  #additions(all: readonly Weighted<SpanAdapterMemory>[]): Additions {
    const { slots, plan, range, names } = this.#options
    const at = new Map<number, SlotAddition>()
    for (const { adapter, weight } of all) {
      for (const { slot, lora } of adapter.placed) {
        const before = at.get(slot)
        const loras = before?.kind === 'product' ? before.loras : []
        const scaled = { ...lora, scale: lora.scale * weight }
        at.set(slot, { kind: 'product', loras: [...loras, scaled] })
      }
    }
    const prompting = all.filter(({ adapter }) => adapter.prompts !== undefined)
    if (prompting.length > 1 || prompting.some(({ weight }) => weight !== 1)) {
      throw badInput('Adapters with prompts cannot be mixed, and count 1')
    }
    const prompts = prompting[0]?.adapter.prompts
    if (prompts !== undefined) {
      const each = prompts.positions * plan.config.hiddenSize
      for (let block = range.start; block < range.end; block++) {
        const from = (block - range.start) * each
        const rows = prompts.values.subarray(from, from + each)
        at.set(names.prompt(block), { kind: 'prompt', rows, count: prompts.positions })
      }
    }
    return makeAdditions(slots, at)
  }

  /** Positions of its prompts. */
  #check({ lora, prompts }: SpanAdapter): number {
    const { plan, range } = this.#options
    const blocks = range.end - range.start
    if (lora !== undefined) {
      const { shape, values } = lora
      const expected = blocks * blockNumbers(targetParts(plan.config, shape), shape.rank)
      if (values.length !== expected) {
        throw badInput(`An adapter of ${values.length} numbers cannot be used: ${expected} belong`)
      }
    }
    const positions = (prompts?.length ?? 0) / (blocks * plan.config.hiddenSize)
    if (!Number.isInteger(positions)) throw badInput('Prompts have another shape than the blocks')
    for (const values of [lora?.values, prompts]) {
      if (values === undefined || hasOnlyNumbers(values)) continue
      throw badInput('An adapter has values that are no numbers')
    }
    return positions
  }

  #loraBytes(lora: StepAdapter | undefined): number {
    if (lora === undefined) return 0
    const { plan, range } = this.#options
    const { rank } = lora.shape
    const block = targetParts(plan.config, lora.shape).reduce(
      (sum, { inputs, outputs }) => sum + inputs * strideOf(rank) + outputs * rank,
      0
    )
    return 4 * block * (range.end - range.start)
  }

  #place({ shape, values }: StepAdapter): Placed[] {
    const { plan, range, names } = this.#options
    const { rank, scale } = shape
    const stride = strideOf(rank)
    const parts = targetParts(plan.config, shape)
    const placed: Placed[] = []
    let at = 0
    for (let block = range.start; block < range.end; block++) {
      for (const { group, inputs, outputs, column } of parts) {
        const a = floats(inputs * stride)
        for (let r = 0; r < rank; r++) {
          for (let k = 0; k < inputs; k++) a[k * stride + r] = values[at + r * inputs + k]!
        }
        at += rank * inputs
        const b = floats(rank * outputs)
        for (let n = 0; n < outputs; n++) {
          for (let r = 0; r < rank; r++) b[r * outputs + n] = values[at + n * rank + r]!
        }
        at += outputs * rank
        const lora = { rank, stride, scale, inputs, outputs, column, a, b }
        placed.push({ slot: names.product(block, group), lora })
      }
    }
    return placed
  }
}

/** One adapter's memory. */
export class SpanAdapterMemory implements LoadedAdapter {
  readonly id: number
  readonly placed: readonly Placed[]
  readonly prompts: { readonly values: Float32Array; readonly positions: number } | undefined
  readonly #reserved: Reservation

  constructor(id: number, parts: Pick<SpanAdapterMemory, 'placed' | 'prompts'> & Reserved) {
    this.id = id
    this.placed = parts.placed
    this.prompts = parts.prompts
    this.#reserved = parts.reserved
  }

  get sizeBytes(): number {
    return this.#reserved.sizeBytes
  }

  /** No session uses it any more. */
  [Symbol.dispose](): void {
    this.#reserved[Symbol.dispose]()
  }
}

interface Reserved {
  readonly reserved: Reservation
}

class KeptSet implements AdapterSet {
  readonly additions: Additions
  readonly #forget: () => void
  #users = 1

  constructor(additions: Additions, forget: () => void) {
    this.additions = additions
    this.#forget = forget
  }

  share(): void {
    this.#users++
  }

  [Symbol.dispose](): void {
    this.#users--
    if (this.#users === 0) this.#forget()
  }
}

/** Kernels take whole vectors of 16. */
function strideOf(rank: number): number {
  return Math.ceil(rank / 16) * 16
}

/** Memory that stays where it is. */
function floats(count: number): Float32Array {
  return new Float32Array(new ArrayBuffer(4 * count))
}

function fixed(values: Float32Array): Float32Array {
  const copy = floats(values.length)
  copy.set(values)
  return copy
}
