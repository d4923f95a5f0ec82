// Final norm and output matrix as an ONNX graph. Knows no sampling.
import { cancelled } from '../../base/errors.ts'
import type { Model } from '../../model/types.ts'
import type { LoadedHead, StopFlag } from '../engine/loaded-span.ts'
import { requireNumbers } from '../finite.ts'
import { HIDDEN, headGraph, RESULT } from '../graph/span-graph.ts'
import { planHead } from '../head-plan.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import { OrtBinding, OrtSession } from '../ort/session.ts'
import { OrtTensor } from '../ort/value.ts'
import { OrtWeights } from '../ort/weights.ts'
import { headPart } from '../weights/span-parts.ts'
import { WeightStore } from '../weights/weight-store.ts'
import type { Backend } from './backend.ts'

export class OnnxHead implements LoadedHead {
  readonly hiddenSize: number
  readonly vocabSize: number
  readonly weightBytes: number
  readonly #backend: Backend
  readonly #session: OrtSession
  readonly #binding: OrtBinding
  readonly #owned: Disposable[]

  private constructor(
    backend: Backend,
    model: Model,
    parts: { session: OrtSession; owned: Disposable[]; weightBytes: number }
  ) {
    this.hiddenSize = model.config.hiddenSize
    this.vocabSize = model.config.vocabSize
    this.weightBytes = parts.weightBytes
    this.#backend = backend
    this.#session = parts.session
    this.#binding = new OrtBinding(parts.session)
    this.#owned = parts.owned
  }

  /** @throws AppError NO_MEMORY, CORRUPT */
  static load(
    backend: Backend,
    budget: MemoryBudget,
    model: Model,
    quant: 'native' | 'f32'
  ): OnnxHead {
    const { config, tensors } = model
    const { plans, vectors, weightBytes } = planHead(config, tensors, quant, 'onnx')
    const reserved = budget.reserve(weightBytes, "The head's weights")
    const owned: Disposable[] = [reserved]
    try {
      const store = new WeightStore(backend.storeOptions, {
        location: model.location,
        reserve: (size) => budget.reserve(size, 'A head that found no room on the disk')
      })
      owned.push(store)
      for (const _ of store.load(headPart(model, vectors, plans)));
      const weights = new OrtWeights(backend.runtime, store)
      owned.push(weights)
      const graph = headGraph(config, plans, quant === 'f32' ? 0 : 4)
      const session = new OrtSession(
        backend.runtime,
        { model: graph.model, weights: weights.pick(graph.weightNames) },
        backend.settings
      )
      owned.push(session)
      store.trim()
      return new OnnxHead(backend, model, { session, owned, weightBytes })
    } catch (error) {
      for (const part of owned.reverse()) part[Symbol.dispose]()
      throw error
    }
  }

  /** Cuts into as many rows as the device computes at once. @throws AppError COMPUTE, CANCELLED */
  run(hidden: Float32Array, logits: Float32Array, stop: StopFlag): void {
    const count = hidden.length / this.hiddenSize
    for (let row = 0; row < count; row += this.#backend.chunkRows) {
      if (Atomics.load(stop.word, 0) !== 0) throw cancelled('The head was stopped')
      const end = Math.min(count, row + this.#backend.chunkRows)
      this.#runRows(
        hidden.subarray(row * this.hiddenSize, end * this.hiddenSize),
        logits.subarray(row * this.vocabSize, end * this.vocabSize)
      )
    }
    requireNumbers(logits, 'The head')
  }

  #runRows(hidden: Float32Array, logits: Float32Array): void {
    const { runtime } = this.#backend
    const count = hidden.length / this.hiddenSize
    using input = OrtTensor.view(runtime, hidden, 'f32', [1, count, this.hiddenSize])
    using output = OrtTensor.view(runtime, logits, 'f32', [1, count, this.vocabSize])
    this.#binding.input(HIDDEN, input)
    this.#binding.output(RESULT, output)
    this.#session.run(this.#binding)
  }

  [Symbol.dispose](): void {
    this.#binding[Symbol.dispose]()
    for (const part of this.#owned.reverse()) part[Symbol.dispose]()
  }
}
