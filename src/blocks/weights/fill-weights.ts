// Creates a part's weights from the model's tensors: reads them and brings them into their form, a
// few rows at a time. Besides the result, at most one tensor of the source and the scales of one
// matrix are in memory.
import { bytesOf } from '../../base/bytes.ts'
import { cosine, power, sine } from '../../base/double-math.ts'
import { corrupt } from '../../base/errors.ts'
import { dequantise } from '../../model/formats/dequantise.ts'
import { isFactor } from '../../model/families-check.ts'
import { rotaryOf } from '../../model/families/rope.ts'
import { rowBytes } from '../../model/formats/tensor-types.ts'
import type { ModelConfig, TensorStore } from '../../model/types.ts'
import { hasOnlyNumbers } from '../finite.ts'
import { blockCounts, encodeBlocks, encodeFloats, scratchFloats } from '../quantise/encode.ts'
import type { MatrixSource } from '../quantise/arrays.ts'
import { matrixTensors, type BlockForm } from '../quantise/form.ts'
import type { PackedForm } from '../quantise/packed-form.ts'
import { biasName, type MatrixPlan, type RopeTable } from '../span-plan.ts'
import { NotFiniteRow, packMatrix, type Packer } from './pack-matrix.ts'
import type { WeightSink } from './weight-part.ts'

const ROPE_FACTORS = 'rope_freqs.weight'
/** Integers and rotation angles that are computed at a time. */
const VALUES_AT_A_TIME = 2 ** 20
/**
 * Floats that are transposed at a time, 16 MiB. It sets the width of a band, rounded to the file's
 * longest blocks.
 */
const FLOATS_AT_A_TIME = 2 ** 22
const LONGEST_BLOCK = 256
const NOTHING = new Float32Array(0)

/** Memory that only ever grows and is reused, so that no matrix leaves garbage. */
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
  readonly #packer: Packer | undefined
  readonly #values = new Scratch()
  readonly #floats = new Scratch()
  readonly #scales = new Scratch()
  readonly #offsets = new Scratch()
  readonly #turned = new Scratch()

  /** `packer` for matrices that are planned for our own kernels. */
  constructor(tensors: TensorStore, packer?: Packer) {
    this.#tensors = tensors
    this.#packer = packer
  }

  /** `half` rounds floats to float16. @throws AppError CORRUPT, and what the sink throws */
  *matrix(plan: MatrixPlan, sink: WeightSink, half = false): Generator<void> {
    const { name, form, rows, columns } = plan
    const [first, ...rest] = matrixTensors(name, form, rows, columns)
    if (first === undefined) throw new TypeError(`Matrix '${name}' has no tensors`)
    sink.begin(first)
    if (form.kind === 'float') {
      yield* this.#floatMatrix(plan, sink, half)
    } else if (form.kind === 'packed') {
      yield* this.#packedMatrix(plan, form, sink)
    } else {
      const { scales, offsets } = yield* this.#blockMatrix(plan, form, sink)
      const turned = transposed(offsets, rows, this.#turned.floats(offsets.length))
      const arrays = [scales, turned]
      for (const [index, spec] of rest.entries()) {
        sink.begin(spec)
        const array = arrays[index]
        if (array !== undefined) sink.write(bytesOf(array))
      }
    }
    if (plan.bias) this.#bias(plan, sink)
  }

  /** A vector such as a norm's weights, as floats, with `plus` added to each. */
  vector(name: string, length: number, sink: WeightSink, plus = 0): void {
    const source = this.#source(name, 1, length)
    const floats = numbersOf(name, dequantise(source.type, source.bytes))
    if (plus !== 0) for (let i = 0; i < length; i++) floats[i]! += plus
    sink.begin({ name, type: 'f32', dims: [length] })
    sink.write(bytesOf(floats))
  }

  /** Cosines and sines of all positions. @throws AppError CORRUPT */
  *rope(config: ModelConfig, table: RopeTable, sink: WeightSink): Generator<void> {
    const rotary = rotaryOf(config)
    const half = rotary / 2
    const [length = 0] = table.cos.dims
    const factors = table.isScaled ? this.#ropeFactors(config) : undefined
    const scale = table.isScaled ? (config.ropeScale ?? 1) : 1
    const steps = Float64Array.from(
      { length: half },
      (_, i) => power(table.theta, (-2 * i) / rotary) / (factors?.[i] ?? 1)
    )
    const positions = Math.max(1, Math.floor(VALUES_AT_A_TIME / half))
    for (const [spec, of] of [
      [table.cos, cosine],
      [table.sin, sine]
    ] as const) {
      sink.begin(spec)
      for (let first = 0; first < length; first += positions) {
        const count = Math.min(positions, length - first)
        const out = new Float32Array(count * half)
        for (let at = 0; at < count; at++) {
          for (let i = 0; i < half; i++) out[at * half + i] = of((first + at) * steps[i]!) * scale
        }
        sink.write(bytesOf(out))
        yield
      }
    }
  }

  /** The biases of a matrix's sources, stacked; zeros for sources without. */
  #bias(plan: MatrixPlan, sink: WeightSink): void {
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
    sink.begin({ name: `${plan.name}.bias`, type: 'f32', dims: [plan.rows] })
    sink.write(bytesOf(numbersOf(`${plan.name}.bias`, out)))
  }

  /** The file's own factors, or those of the config. */
  #ropeFactors(config: ModelConfig): ArrayLike<number> | undefined {
    if (!this.#tensors.has(ROPE_FACTORS)) return config.ropeFactors
    const source = this.#source(ROPE_FACTORS, 1, rotaryOf(config) / 2)
    const factors = dequantise(source.type, source.bytes)
    if (!factors.every(isFactor)) {
      throw corrupt(`Tensor '${ROPE_FACTORS}' cannot be used: not all are numbers over 0`)
    }
    return factors
  }

  *#packedMatrix(plan: MatrixPlan, form: PackedForm, sink: WeightSink): Generator<void> {
    const packer = this.#packer
    if (packer === undefined) throw new TypeError(`Nothing packs '${plan.name}'`)
    const read = (tensor: string, rows: number, columns: number): MatrixSource =>
      this.#source(tensor, rows, columns)
    const pieces = packMatrix(plan, form, { packer, read, release: () => this.#tensors.release() })
    try {
      for (const piece of pieces) {
        sink.write(piece)
        yield
      }
    } catch (error) {
      throw error instanceof NotFiniteRow ? noNumbers(error.tensor) : error
    }
  }

  /** A band of columns at a time, in the order in which the sink takes columns. */
  *#floatMatrix(plan: MatrixPlan, sink: WeightSink, half: boolean): Generator<void> {
    const { rows: height, columns } = plan
    const width = Math.max(1, Math.floor(FLOATS_AT_A_TIME / height / LONGEST_BLOCK)) * LONGEST_BLOCK
    // Allocated at its final size at once: growing it would leave the old memory as garbage.
    const band = this.#values.floats(Math.max(FLOATS_AT_A_TIME, width * height))
    const scratch = this.#floats.floats(scratchFloats(Math.min(width, columns)))
    for (let from = 0; from < columns; from += width) {
      const to = Math.min(columns, from + width)
      const out = band.subarray(0, (to - from) * height)
      let first = 0
      for (const { tensor, rows } of plan.sources) {
        const source = this.#source(tensor, rows, columns)
        encodeFloats(source, out, { from, to, first, height, half }, scratch)
        first += rows
        this.#tensors.release()
        yield
      }
      if (!hasOnlyNumbers(out)) throw noNumbers(this.#spoilt(plan) ?? plan.name)
      sink.write(bytesOf(out))
    }
  }

  /** Writes the integers; returns scales and offsets of all rows. */
  *#blockMatrix(
    plan: MatrixPlan,
    form: BlockForm,
    sink: WeightSink
  ): Generator<void, { scales: Float32Array; offsets: Float32Array }> {
    const { columns } = plan
    const whole = blockCounts(form, plan.rows, columns)
    const scales = this.#scales.floats(whole.scales)
    const offsets = this.#offsets.floats(whole.offsets)
    const scratch = form.from === 'file' ? NOTHING : this.#floats.floats(scratchFloats(columns))
    const most = Math.max(1, Math.floor(VALUES_AT_A_TIME / columns))
    const counts = blockCounts(form, most, columns)
    const values = this.#values.bytes(counts.values)
    let row = 0
    for (const { tensor, rows } of plan.sources) {
      const source = this.#source(tensor, rows, columns)
      const size = rowBytes(source.type, columns)
      for (let first = 0; first < rows; first += most) {
        const count = Math.min(most, rows - first)
        const each = blockCounts(form, count, columns)
        const scaleAt = blockCounts(form, row, columns).scales
        const out = {
          values: values.subarray(0, each.values),
          scales: scales.subarray(scaleAt, scaleAt + each.scales),
          offsets: form.offsets ? offsets.subarray(scaleAt, scaleAt + each.scales) : offsets
        }
        const bytes = source.bytes.subarray(first * size, (first + count) * size)
        encodeBlocks({ ...source, bytes, rows: count }, form, out, 0, scratch)
        if (!hasOnlyNumbers(out.scales) || !hasOnlyNumbers(out.offsets)) throw noNumbers(tensor)
        sink.write(out.values)
        row += count
        yield
      }
      this.#tensors.release()
    }
    return { scales, offsets }
  }

  /** Which of a matrix's tensors has a bad value. */
  #spoilt(plan: MatrixPlan): string | undefined {
    return plan.sources.find(({ tensor, rows }) => {
      const { type, bytes, columns } = this.#source(tensor, rows, plan.columns)
      const size = rowBytes(type, columns)
      for (let at = 0; at < bytes.byteLength; at += size) {
        if (!hasOnlyNumbers(dequantise(type, bytes.subarray(at, at + size)))) return true
      }
      return false
    })?.tensor
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

function numbersOf(name: string, values: Float32Array): Float32Array {
  if (!hasOnlyNumbers(values)) throw noNumbers(name)
  return values
}

function noNumbers(name: string): Error {
  return corrupt(`Tensor '${name}' cannot be used: it holds values that are no numbers`, {
    hint: 'The file is damaged, or was not made well: get it again, or another one'
  })
}

/** (rows, blocks) to (blocks, rows). */
function transposed(offsets: Float32Array, rows: number, out: Float32Array): Float32Array {
  const count = offsets.length / rows
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < count; i++) out[i * rows + row] = offsets[row * count + i]!
  }
  return out
}
