// Puts a plan's weights into a store: reads the model's tensors, brings them into form, matrix by matrix.
// One scratch buffer per kind serves all matrices, so that loading needs little beyond the store.
import { bytesOf } from '../base/bytes.ts'
import { corrupt } from '../base/errors.ts'
import { dequantise } from '../model/dequantise.ts'
import type { ModelConfig, TensorStore } from '../model/types.ts'
import { blockCounts, encodeBlocks, encodeFloats, type MatrixSource } from './quantise/encode.ts'
import { matrixTensors, type BlockForm } from './quantise/form.ts'
import { ropeSpecs, type MatrixPlan } from './span-plan.ts'
import type { WeightStore } from './weight-store.ts'

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
  }

  /** A vector such as a norm's weights, as floats. */
  vector(name: string, length: number): void {
    const source = this.#source(name, 1, length)
    const floats = dequantise(source.type, source.bytes)
    this.#store.add({ name, type: 'f32', dims: [length] }, bytesOf(floats))
  }

  /** Cosines and sines of every position. */
  rope(config: ModelConfig): void {
    const half = config.headDim / 2
    const [cos, sin] = ropeSpecs(config)
    const table = this.#values.floats(config.contextLength * half)
    for (const [spec, of] of [
      [cos, Math.cos],
      [sin, Math.sin]
    ] as const) {
      for (let i = 0; i < half; i++) {
        const step = config.ropeTheta ** ((-2 * i) / config.headDim)
        for (let at = 0; at < config.contextLength; at++) table[at * half + i] = of(at * step)
      }
      this.#store.add(spec, bytesOf(table))
    }
  }

  #floats(plan: MatrixPlan, half: boolean): Float32Array {
    const out = this.#values.floats(plan.rows * plan.columns)
    let row = 0
    for (const { tensor, rows } of plan.sources) {
      encodeFloats(this.#source(tensor, rows, plan.columns), out, row, half)
      row += rows
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
    return [out.values, out.scales, out.offsets]
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
