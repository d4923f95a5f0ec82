// A store's weights as tensors of onnxruntime, created on demand over the store's memory.
import type { WeightStore } from '../weights/weight-store.ts'
import type { OrtRuntime } from './runtime.ts'
import { OrtTensor } from './value.ts'

/** Dispose it before its store, and after every session that uses its tensors. */
export class OrtWeights implements Disposable {
  readonly #runtime: OrtRuntime
  readonly #store: WeightStore
  readonly #tensors = new Map<string, OrtTensor>()

  constructor(runtime: OrtRuntime, store: WeightStore) {
    this.#runtime = runtime
    this.#store = store
  }

  /** The tensors of these names. */
  pick(names: readonly string[]): ReadonlyMap<string, OrtTensor> {
    return new Map(names.map((name) => [name, this.#tensor(name)]))
  }

  #tensor(name: string): OrtTensor {
    const known = this.#tensors.get(name)
    if (known !== undefined) return known
    const stored = this.#store.tensors.get(name)
    if (stored === undefined) throw new TypeError(`Weight '${name}' was not filled`)
    const { spec, address, sizeBytes } = stored
    const memory = { pointer: address, sizeBytes, keep: this.#store }
    const tensor = OrtTensor.over(this.#runtime, memory, spec.type, spec.dims)
    this.#tensors.set(name, tensor)
    return tensor
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors.values()) tensor[Symbol.dispose]()
    this.#tensors.clear()
  }
}
