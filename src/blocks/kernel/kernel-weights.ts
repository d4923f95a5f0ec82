// Addresses of a span's or head's weights, as programs need them. Knows a store and plans, no
// operators.
import { ptr } from 'bun:ffi'
import type { Address, PackedMatrix, RopeAddresses } from '../../kernels/program.ts'
import { alibiSlopes, ropeNames } from '../families/facts.ts'
import { packedNumber } from '../quantise/packed-form.ts'
import { rotaryOf } from '../../model/families/rope.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { BlockPlan, MatrixPlan } from '../span-plan.ts'
import type { WeightScope } from './kernel-parts.ts'
import type { WeightStore } from '../weights/weight-store.ts'

export class KernelWeights {
  readonly #store: WeightStore
  /** Constants that we made, by name; programs have their addresses. */
  readonly #constants = new Map<string, Float32Array>()

  constructor(store: WeightStore) {
    this.#store = store
  }

  address(name: string): Address {
    const stored = this.#store.tensors.get(name)
    if (stored === undefined) throw new TypeError(`Weight '${name}' was not filled`)
    return stored.address
  }

  matrix({ name, form, rows, columns, bias }: MatrixPlan): PackedMatrix {
    if (form.kind !== 'packed') throw new TypeError(`Matrix '${name}' is not packed`)
    return {
      data: this.address(name),
      form: packedNumber(form.type),
      rows,
      columns,
      bias: bias ? this.address(`${name}.bias`) : undefined
    }
  }

  /** Where the weights of a block lie. */
  scope(config: ModelConfig, { block, groups }: Pick<BlockPlan, 'block' | 'groups'>): WeightScope {
    return {
      config,
      block,
      matrices: (name) => (groups.get(name) ?? []).map((matrix) => this.matrix(matrix)),
      vector: (tensor) => this.address(tensor),
      rope: this.rope(config, block),
      slopes: (factor) => this.slopes(config.headCount, factor)
    }
  }

  /** Rotation tables of a block; undefined for models without RoPE. */
  rope(config: ModelConfig, block: number): RopeAddresses | undefined {
    if (config.positions !== undefined) return undefined
    const { cos, sin } = ropeNames(config, block)
    const rotary = rotaryOf(config)
    const positions = config.contextLength
    return { cos: this.address(cos), sin: this.address(sin), positions, rotary }
  }

  /** ALiBi's slopes times a factor. */
  slopes(heads: number, factor: number): Address {
    const key = `slopes ${factor}`
    const known = this.#constants.get(key)
    if (known !== undefined) return ptr(known)
    const slopes = new Float32Array(new ArrayBuffer(heads * 4))
    slopes.set(alibiSlopes(heads).map((slope) => slope * factor))
    this.#constants.set(key, slopes)
    return ptr(slopes)
  }
}
