// Puts a plan's weights into a store: reads the model's tensors, brings them into form, matrix by matrix.
// One scratch buffer per kind serves all matrices, so that loading needs little beyond the store.
import { bytesOf } from '../base/bytes.ts'
import { corrupt } from '../base/errors.ts'
import { dequantise } from '../model/dequantise.ts'
import { isFactor } from '../model/families-check.ts'
import type { ModelConfig, TensorStore } from '../model/types.ts'
import { blockCounts, encodeBlocks, encodeFloats, type MatrixSource } from './quantise/encode.ts'
import { matrixTensors, type BlockForm } from './quantise/form.ts'
import { longestRun } from './graph/attention.ts'
import { biasName, ropeTables, type MatrixPlan } from './span-plan.ts'
import type { WeightStore } from './weight-store.ts'

const ROPE_FACTORS = 'rope_freqs.weight'

/** Buffers that only ever grow; a view of the wanted length is handed out. */
class Scratch {
  #memory = new ArrayBuffer(0)

  bytes(length: number): Uint8Array {
    if (this.#memory.byteLength < length) this.#memory = new ArrayBuffer(length)
    return new Uint8Array(this.#memory, 0, length)
  }

  floats(length: number): Float32Array {
    this.bytes(length * 4)
    return new Float32Array(this.#memory, 0, length)
  }
}

export class WeightFiller {
  readonly #tensors: TensorStore
  readonly #store: WeightStore
  readonly #values = new Scratch()
  readonly #scales = new Scratch()
  readonly #offsets = new Scratch()
  readonly #turned = new Scratch()

  constructor(tensors: TensorStore, store: WeightStore) {
    this.#tensors = tensors
    this.#store = store
  }

  /** @throws AppError CORRUPT, NO_MEMORY */
  matrix(plan: MatrixPlan, half = false): void {
    const { name, form, rows, columns } = plan
    const specs = matrixTensors(name, form, rows, columns)
    const arrays = form.kind === 'float' ? [this.#floats(plan, half)] : this.#blocks(plan, form)
    for (const [index, spec] of specs.entries()) {
      const array = arrays[index]
      if (array !== undefined) this.#store.add(spec, bytesOf(array))
    }
    if (plan.bias) this.#bias(plan)
  }

  /** A vector such as a norm's weights, as floats, with `plus` added to each. */
  vector(name: string, length: number, plus = 0): void {
    const source = this.#source(name, 1, length)
    const floats = dequantise(source.type, source.bytes)
    if (plus !== 0) for (let i = 0; i < length; i++) floats[i]! += plus
    this.#store.add({ name, type: 'f32', dims: [length] }, bytesOf(floats))
  }

  /** Biases of a matrix's sources under each other; zeros for those without. */
  #bias(plan: MatrixPlan): void {
    const out = new Float32Array(plan.rows)
    let row = 0
    for (const { tensor, rows } of plan.sources) {
      const name = biasName(tensor)
      if (this.#tensors.has(name)) {
        const source = this.#source(name, 1, rows)
        dequantise(source.type, source.bytes, out, row)
      }
      row += rows
    }
    this.#store.add({ name: `${plan.name}.bias`, type: 'f32', dims: [plan.rows] }, bytesOf(out))
  }

  /** Cosines and sines of every position, for blocks [first, last). @throws AppError CORRUPT */
  rope(config: ModelConfig, range: { first: number; last: number }): void {
    const { headDim } = config
    const length = longestRun(config)
    const half = headDim / 2
    for (const { cos, sin, theta, isScaled } of ropeTables(config, range)) {
      const factors = isScaled ? this.#ropeFactors(config) : undefined
      const table = this.#values.floats(length * half)
      for (const [spec, of] of [
        [cos, Math.cos],
        [sin, Math.sin]
      ] as const) {
        for (let i = 0; i < half; i++) {
          const step = theta ** ((-2 * i) / headDim) / (factors?.[i] ?? 1)
          for (let at = 0; at < length; at++) table[at * half + i] = of(at * step)
        }
        this.#store.add(spec, bytesOf(table))
      }
    }
  }

  /** The file's own, or those that the config tells of. */
  #ropeFactors(config: ModelConfig): ArrayLike<number> | undefined {
    if (!this.#tensors.has(ROPE_FACTORS)) return config.ropeFactors
    const source = this.#source(ROPE_FACTORS, 1, config.headDim / 2)
    const factors = dequantise(source.type, source.bytes)
    if (!factors.every(isFactor)) {
      throw corrupt(`Tensor '${ROPE_FACTORS}' cannot be used: not all are numbers over 0`)
    }
    return factors
  }

  #floats(plan: MatrixPlan, half: boolean): Float32Array {
    const out = this.#values.floats(plan.rows * plan.columns)
    let first = 0
    for (const { tensor, rows } of plan.sources) {
      const place = { first, height: plan.rows, half }
      encodeFloats(this.#source(tensor, rows, plan.columns), out, place)
      first += rows
    }
    return out
  }

  #blocks(plan: MatrixPlan, form: BlockForm): ArrayBufferView[] {
    const counts = blockCounts(form, plan.rows, plan.columns)
    const out = {
      values: this.#values.bytes(counts.values),
      scales: this.#scales.floats(counts.scales),
      offsets: this.#offsets.floats(counts.offsets)
    }
    let row = 0
    for (const { tensor, rows } of plan.sources) {
      encodeBlocks(this.#source(tensor, rows, plan.columns), form, out, row)
      row += rows
    }
    return [out.values, out.scales, this.#transposed(out.offsets, plan.rows)]
  }

  /** (rows, blocks) to (blocks, rows). */
  #transposed(offsets: Float32Array, rows: number): Float32Array {
    const count = offsets.length / rows
    const out = this.#turned.floats(offsets.length)
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < count; i++) out[i * rows + row] = offsets[row * count + i]!
    }
    return out
  }

  #source(name: string, rows: number, columns: number): MatrixSource {
    const { type, shape } = this.#tensors.info(name)
    const wanted = shape.length === 1 ? [columns] : [rows, columns]
    if (shape.join() !== wanted.join()) {
      throw corrupt(
        `Tensor '${name}' cannot be used: its shape is [${shape.join(', ')}], not [${wanted.join(', ')}]`
      )
    }
    return { type, bytes: this.#tensors.read(name), rows, columns }
  }
}
