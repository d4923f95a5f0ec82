// The form in which our own kernels hold a linear layer's weights: the file's own bits reordered,
// or floats rounded to integers. Knows sizes; src/kernels packs and multiplies.
import { TYPE_FACTS } from '../../model/formats/tensor-types.ts'
import type { TensorType } from '../../model/types.ts'
import type { Quant } from '../types.ts'

/** I8 and I4 are floats that we rounded. */
export type PackedType = TensorType | 'I8' | 'I4'

/** Groups of 16 rows are interleaved; each block of a file's type keeps its size. */
export interface PackedForm {
  readonly kind: 'packed'
  readonly type: PackedType
  readonly note: string
}

/** Rows of an interleaved group. */
const GROUP = 16
/** A group starts at a cache line. */
const ALIGNMENT = 64

/** Number of a type in `enum pk_form`: GGUF's, and our own from 100 on. */
export function packedNumber(type: PackedType): number {
  if (type === 'I4') return 100
  return type === 'I8' ? 101 : TYPE_FACTS[type].ggufId
}

/** Values and bytes of a block. I4 has a scale and a minimum for 32 values, I8 a scale. */
function blockOf(type: PackedType): { blockSize: number; blockBytes: number } {
  if (type === 'I4') return TYPE_FACTS.Q4_1
  return TYPE_FACTS[type === 'I8' ? 'Q8_0' : type]
}

/** Bytes of a matrix as pk_pack writes it. */
export function packedBytes(type: PackedType, rows: number, columns: number): number {
  const { blockSize, blockBytes } = blockOf(type)
  const group = GROUP * Math.ceil(columns / blockSize) * blockBytes
  return Math.ceil(rows / GROUP) * Math.ceil(group / ALIGNMENT) * ALIGNMENT
}

/** Types whose values are floats; pk_pack takes them unchanged, whatever it makes of them. */
export function isFloatType(type: PackedType): type is 'F32' | 'F16' | 'BF16' {
  return type === 'F32' || type === 'F16' || type === 'BF16'
}

/** Types that int4 rounds: those with more than 5 bits per weight. */
const OVER_FOUR_BITS: ReadonlySet<TensorType> = new Set([
  'F32',
  'F16',
  'BF16',
  'Q5_0',
  'Q5_1',
  'Q5_K',
  'Q6_K',
  'Q8_0'
])

/** The form for a tensor of `type` under `quant`. */
export function planPacked(type: TensorType, quant: Quant): PackedForm {
  switch (quant) {
    case 'native':
      return exact(type, `${type} exact`)
    case 'f32':
      return exact(type, `${type} exact, float activations`)
    case 'f16':
      return type === 'F32'
        ? packed('F16', 'F32 rounded to float16, float activations')
        : exact(type, `${type} exact, float activations`)
    case 'int8':
      return isFloatType(type) ? rounded(type, 'I8') : exact(type, `${type} exact`)
    case 'int4':
      return OVER_FOUR_BITS.has(type) ? rounded(type, 'I4') : exact(type, `${type} exact`)
    default:
      throw new TypeError(`Unknown quantisation '${String(quant)}'`)
  }
}

/** Floats whatever the type, for small and sensitive matrices. */
export function packedFloats(type: TensorType): PackedForm {
  return packed('F32', type === 'F32' ? 'F32 exact' : `${type} exact, held as floats`)
}

function exact(type: TensorType, note: string): PackedForm {
  return packed(type, note)
}

function rounded(type: TensorType, to: 'I8' | 'I4'): PackedForm {
  return packed(to, `${type} rounded to ${to === 'I8' ? 8 : 4} bits`)
}

function packed(type: PackedType, note: string): PackedForm {
  return { kind: 'packed', type, note }
}
