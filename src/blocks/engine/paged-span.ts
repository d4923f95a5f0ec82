// A span of our own kernels: rows of any number of sessions in one run, each session on its own
// pages. Knows no weights and no operators: a KernelProgram has them.
import type { BlockSpan } from '../../base/block-span.ts'
import { computeError, toAppError, type AppError } from '../../base/errors.ts'
import type { LoadedAdapter, SpanAdapter, Weighted } from '../adapters/adapter-types.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { KernelProgram, LoadedSpan, RunPart, StopFlag } from './loaded-span.ts'
import type { TrainResult, TrainStep } from '../train/train-types.ts'
import { PagePool } from './page-pool.ts'
import { PagedSession } from './paged-session.ts'

export class PagedSpan implements LoadedSpan {
  readonly #program: KernelProgram
  readonly #pool: PagePool

  constructor(program: KernelProgram, budget: MemoryBudget) {
    this.#program = program
    this.#pool = new PagePool(budget)
  }

  get plan(): SpanPlan {
    return this.#program.plan
  }

  get range(): BlockSpan {
    return this.#program.range
  }

  get pageTokens(): number {
    return this.#program.pageTokens
  }

  get kvBytes(): number {
    return this.#pool.usedBytes
  }

  openSession(range: BlockSpan, adapters: readonly Weighted<LoadedAdapter>[] = []): PagedSession {
    const set = adapters.length === 0 ? undefined : this.#program.openAdapters(adapters)
    return new PagedSession(this.#program, this.#pool, range, set)
  }

  loadAdapter(adapter: SpanAdapter): LoadedAdapter {
    return this.#program.loadAdapter(adapter)
  }

  run(parts: readonly RunPart<PagedSession>[], stop: StopFlag): (AppError | undefined)[] {
    const [first] = parts
    if (first === undefined) return []
    try {
      this.#runRows(first.session.range, parts, stop)
    } catch (error) {
      return parts.map(() => toAppError(error))
    }
    return parts.map(({ session, hidden, result }) => {
      if (!hasOnlyNumbers(result)) {
        return computeError('A step gave values that are no numbers', { retryable: false })
      }
      session.advance(hidden.length / this.plan.config.hiddenSize)
      return undefined
    })
  }

  train(step: TrainStep, stop: StopFlag): TrainResult | undefined {
    return this.#program.train(step, stop)
  }

  #runRows(range: BlockSpan, given: readonly RunPart<PagedSession>[], stop: StopFlag): void {
    const { hiddenSize } = this.plan.config
    // Rows with the same adapters behind each other: their matrices are read once for all.
    const parts = [...given].sort((a, b) => addressOf(a) - addressOf(b))
    const segments = parts.map(({ session, hidden }) => ({
      pages: session.addresses,
      start: session.length,
      additions: session.additions,
      rows: hidden.length / hiddenSize
    }))
    const [only] = parts
    if (only !== undefined && parts.length === 1) {
      this.#program.run(range, { hidden: only.hidden, result: only.result, segments }, stop)
      return
    }
    const size = parts.reduce((sum, { hidden }) => sum + hidden.length, 0)
    const [hidden, result] = [new Float32Array(size), new Float32Array(size)]
    let at = 0
    for (const part of parts) {
      hidden.set(part.hidden, at)
      at += part.hidden.length
    }
    this.#program.run(range, { hidden, result, segments }, stop)
    at = 0
    for (const part of parts) {
      part.result.set(result.subarray(at, at + part.result.length))
      at += part.result.length
    }
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]()
  }
}

function addressOf({ session }: RunPart<PagedSession>): number {
  return session.additions?.address ?? 0
}
