// Runs a model in the compute worker as a route would: embedding here, spans by number, head at the
// end.
import type { Compute } from '../../../src/blocks/compute.ts'
import type { Quant } from '../../../src/blocks/types.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model, ModelLocation } from '../../../src/model/types.ts'

export interface RunOptions {
  quant?: Quant
  /** Where spans begin after the first. Default: one span. */
  cuts?: readonly number[]
}

/** A model whose blocks are held by one or several spans. */
export class Runner implements AsyncDisposable {
  readonly model: Model
  readonly #compute: Compute
  readonly #spans: readonly number[]
  readonly #head: number

  private constructor(model: Model, compute: Compute, spans: readonly number[], head: number) {
    this.model = model
    this.#compute = compute
    this.#spans = spans
    this.#head = head
  }

  static async load(
    compute: Compute,
    location: ModelLocation,
    options: RunOptions = {}
  ): Promise<Runner> {
    const { quant = 'f32', cuts = [] } = options
    const model = await openModel(location)
    const edges = [0, ...cuts, model.config.blockCount]
    const spans: number[] = []
    for (const [i, start] of edges.slice(0, -1).entries()) {
      const info = await compute.loadSpan({ location, start, end: edges[i + 1]!, quant })
      spans.push(info.span)
    }
    const head = await compute.loadHead(location, quant === 'f32' ? 'f32' : 'native')
    return new Runner(model, compute, spans, head)
  }

  async session(): Promise<RunnerSession> {
    const sessions: number[] = []
    for (const span of this.#spans) sessions.push(await this.#compute.openSession(span))
    return new RunnerSession(this.model, this.#compute, sessions)
  }

  /** hidden (count, hiddenSize) to logits (count, vocabSize). */
  head(hidden: Float32Array): Promise<Float32Array> {
    return this.#compute.head(this.#head, hidden.slice())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const span of this.#spans) await this.#compute.unloadSpan(span)
    await this.#compute.unloadHead(this.#head)
    this.model.close()
  }
}

export class RunnerSession {
  readonly #model: Model
  readonly #compute: Compute
  readonly #sessions: readonly number[]
  /** What went into each span at the last step. */
  inputs: Float32Array[] = []

  constructor(model: Model, compute: Compute, sessions: readonly number[]) {
    this.#model = model
    this.#compute = compute
    this.#sessions = sessions
  }

  /** Rows that come out of the last block for `ids` from position `start` on. */
  async feed(ids: readonly number[], start: number): Promise<Float32Array> {
    let hidden = embedTokens(this.#model, ids, start)
    this.inputs = []
    for (const session of this.#sessions) {
      this.inputs.push(hidden.slice())
      const output = await this.#compute.step({ session, start, count: ids.length, hidden })
      hidden = output.hidden
    }
    return hidden
  }

  /** All of `ids` in steps of `size`. */
  async feedBy(size: number, ids: readonly number[]): Promise<Float32Array> {
    const parts: Float32Array[] = []
    for (let at = 0; at < ids.length; at += size) {
      parts.push(await this.feed(ids.slice(at, at + size), at))
    }
    return joined(parts)
  }
}

export function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Root of the mean squared difference over that of `expected`. */
export function meanError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, size] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    error += (actual[i]! - expected[i]!) ** 2
    size += expected[i]! ** 2
  }
  return actual.length === expected.length ? Math.sqrt(error / size) : Infinity
}

export function argmax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}
