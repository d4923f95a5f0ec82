// The form in which onnxruntime holds a linear layer's weights, decided from the source type and
// `quant` before anything is read. encode.ts fills them; packed-form.ts has the forms of our own
// kernels.
import { ELEMENTS, type ElementType } from '../ort/value.ts'
import type { TensorType } from '../../model/types.ts'
import type { Quant } from '../types.ts'
import { packedBytes, type PackedForm } from './packed-form.ts'

/** Float weights, held as (columns, rows). */
export interface FloatForm {
  readonly kind: 'float'
  readonly note: string
}

/** Blocks of integers along the columns, each with a scale (MatMulNBits). */
export interface BlockForm {
  readonly kind: 'blocks'
  readonly bits: 4 | 8
  /** Values in a block. */
  readonly block: number
  /**
   * A float for each block that is added to all its values, stored apart because the operator
   * cannot hold it.
   */
  readonly offsets: boolean
  /** Where the integers come from: the file's own, or rounded floats. */
  readonly from: 'file' | 'floats'
  readonly note: string
}

export type MatrixForm = FloatForm | BlockForm | PackedForm

/**
 * Values per block where floats are rounded. SmolLM2's perplexity, 21.16 with floats, is 24.1, 26.7
 * and 29.3 with int4 by 32, 64 and 128, and 21.28, 21.32 and 21.56 with int8
 * (scripts/bench/quant-table.ts). Larger blocks take up to 29 % less time, but devices support only
 * 32.
 */
const ROUNDED_BLOCK = 32

const float = (note: string): FloatForm => ({ kind: 'float', note })

function blocks(
  facts: { bits: 4 | 8; block?: number; offsets?: boolean; from: 'file' | 'floats' },
  note: string
): BlockForm {
  const { bits, block = 32, offsets = false, from } = facts
  return { kind: 'blocks', bits, block, offsets, from, note }
}

/** Source types whose weights the engine holds unchanged. */
const NATIVE: Readonly<Record<TensorType, FloatForm | BlockForm>> = {
  F32: float('F32 exact, float weights'),
  F16: float('F16 exact, held as floats'),
  BF16: float('BF16 exact, held as floats'),
  Q4_0: blocks({ bits: 4, from: 'file' }, 'Q4_0 exact, 4 bits'),
  Q4_1: blocks({ bits: 4, offsets: true, from: 'file' }, 'Q4_1 exact, 4 bits + block minimum'),
  Q2_K: float('Q2_K exact, held as floats'),
  Q3_K: float('Q3_K exact, held as floats'),
  Q4_K: blocks({ bits: 4, offsets: true, from: 'file' }, 'Q4_K exact, 4 bits + block minimum'),
  Q5_0: blocks({ bits: 8, from: 'file' }, 'Q5_0 exact, held in 8 bits'),
  Q5_1: blocks({ bits: 8, offsets: true, from: 'file' }, 'Q5_1 exact, 8 bits + block minimum'),
  Q5_K: blocks({ bits: 8, offsets: true, from: 'file' }, 'Q5_K exact, 8 bits + block minimum'),
  Q6_K: blocks({ bits: 8, block: 16, from: 'file' }, 'Q6_K exact, held in 8 bits'),
  Q8_0: blocks({ bits: 8, from: 'file' }, 'Q8_0 exact, 8 bits'),
  IQ4_NL: float('IQ4_NL exact, held as floats'),
  IQ4_XS: float('IQ4_XS exact, held as floats'),
  MXFP4: float('MXFP4 exact, held as floats')
}

/**
 * The form for a tensor of `type` under `quant`; `rounded` is the block size where floats are
 * rounded.
 */
export function planForm(
  type: TensorType,
  quant: Quant,
  rounded: number = ROUNDED_BLOCK
): FloatForm | BlockForm {
  switch (quant) {
    case 'native':
      return NATIVE[type]
    case 'f32':
      return float(`${type} exact, float weights`)
    case 'f16':
      return float(`${type} rounded to float16, held as floats`)
    case 'int8':
      return atMost(8, type, rounded)
    case 'int4':
      return atMost(4, type, rounded)
    default:
      throw new TypeError(`Unknown quantisation '${String(quant)}'`)
  }
}

/**
 * Rounds types with more bits and leaves the others unchanged: rounding again would only lose
 * precision.
 */
function atMost(bits: 4 | 8, type: TensorType, block: number): FloatForm | BlockForm {
  const native = NATIVE[type]
  if (native.kind === 'blocks' && native.bits <= bits) return native
  return blocks({ bits, block, from: 'floats' }, `${type} rounded to ${bits} bits`)
}

/** Whether rows of two forms can be stacked in one matrix. */
export function sameForm(a: MatrixForm, b: MatrixForm): boolean {
  if (a.kind === 'packed') return b.kind === 'packed' && a.type === b.type
  if (a.kind === 'float' || b.kind !== 'blocks') return a.kind === b.kind
  return a.bits === b.bits && a.block === b.block && a.offsets === b.offsets
}

/** One tensor of a matrix, as the graph declares it and the store holds it. */
export interface TensorSpec {
  readonly name: string
  readonly type: ElementType
  readonly dims: readonly number[]
}

/** The tensors that hold a matrix of shape (rows, columns) in a form. */
export function matrixTensors(
  name: string,
  form: MatrixForm,
  rows: number,
  columns: number
): TensorSpec[] {
  if (form.kind === 'float') return [{ name, type: 'f32', dims: [columns, rows] }]
  if (form.kind === 'packed') {
    return [{ name, type: 'u8', dims: [packedBytes(form.type, rows, columns)] }]
  }
  const count = Math.ceil(columns / form.block)
  const tensors: TensorSpec[] = [
    { name: `${name}.values`, type: 'u8', dims: [rows, count, (form.block * form.bits) / 8] },
    { name: `${name}.scales`, type: 'f32', dims: [rows * count] }
  ]
  // As columns of integers behind the values, in two levels of 4 bits, they would need no product
  // of their own, but int8 sums would meet them: SmolLM2's agreement fell from 98.2 % to 96.8 %,
  // and it was not faster.
  if (form.offsets) tensors.push({ name: `${name}.offsets`, type: 'f32', dims: [count, rows] })
  return tensors
}

export function specBytes(spec: TensorSpec): number {
  return spec.dims.reduce((product, size) => product * size, ELEMENTS[spec.type].bytes)
}
