// Converts activations to and from their wire types: f32, f16, bf16, and int8 with a scale for 64
// values. The bytes of each row stand by themselves, so some rows of a tensor are a tensor. Values
// that are not finite are neither sent nor taken. Knows no frames.
import { bytesOf } from '../base/bytes.ts'
import { badInput, protocolError, unsupported } from '../base/errors.ts'
import type { WireDtype, WireTensor } from './types.ts'

/** Values of an int8 row that share a scale. */
export const BLOCK = 64

/** 128 times this is still finite: a peer may send -128. */
const MAX_SCALE = 2.6e36

const F32_EXPONENT = 0x7f800000
const F16_EXPONENT = 0x7c00
const BF16_EXPONENT = 0x7f80

/** Bytes of one row. */
export function rowBytes(dtype: WireDtype, columns: number): number {
  switch (dtype) {
    case 'f32':
      return columns * 4
    case 'f16':
    case 'bf16':
      return columns * 2
    case 'int8':
      return columns + 4 * Math.ceil(columns / BLOCK)
    default:
      throw unsupported(`The tensor cannot be sized: dtype '${String(dtype)}' is not known`)
  }
}

/** Rows [from, to) of a tensor, over the same memory. */
export function sliceRows(tensor: WireTensor, from: number, to: number): WireTensor {
  if (from < 0 || to > tensor.rows || from >= to) {
    throw new RangeError(`Rows ${from} to ${to} are not in a tensor of ${tensor.rows}`)
  }
  const size = rowBytes(tensor.dtype, tensor.columns)
  return { ...tensor, rows: to - from, data: tensor.data.subarray(from * size, to * size) }
}

/**
 * values (rows, columns) in a wire type; f32 keeps the caller's memory, the others have their own.
 * @throws AppError BAD_INPUT for a value that is not finite, UNSUPPORTED for one that is too large
 * for the type
 */
export function encodeTensor(
  values: Float32Array,
  rows: number,
  columns: number,
  dtype: WireDtype
): WireTensor {
  if (values.length !== rows * columns || rows < 1 || columns < 1) {
    throw badInput(`The tensor cannot be sent: ${values.length} values, not ${rows} x ${columns}`)
  }
  return { dtype, rows, columns, data: encodeValues(values, columns, dtype) }
}

function encodeValues(values: Float32Array, columns: number, dtype: WireDtype): Uint8Array {
  switch (dtype) {
    case 'f32':
      return toF32(values)
    case 'f16':
      return toF16(values)
    case 'bf16':
      return toBf16(values)
    case 'int8':
      return toInt8(values, columns)
    default:
      throw unsupported(`The tensor cannot be sent: dtype '${String(dtype)}' is not known`)
  }
}

/**
 * A tensor's values (rows, columns) in memory of their own.
 * @throws AppError PROTOCOL for a wrong size or a value that is not finite
 */
export function decodeTensor(tensor: WireTensor): Float32Array {
  const { dtype, rows, columns, data } = tensor
  if (data.byteLength !== rows * rowBytes(dtype, columns)) {
    throw protocolError(
      `The tensor is refused: ${data.byteLength} bytes for ${rows} x ${columns} of ${dtype}`
    )
  }
  switch (dtype) {
    case 'f32':
      return fromF32(data)
    case 'f16':
      return fromF16(data)
    case 'bf16':
      return fromBf16(data)
    case 'int8':
      return fromInt8(data, rows, columns)
    default:
      throw unsupported(`The tensor is refused: dtype '${String(dtype)}' is not known`)
  }
}

function toF32(values: Float32Array): Uint8Array {
  if (!isFinite32(new Uint32Array(values.buffer, values.byteOffset, values.length)))
    throw unfit(values, 'f32')
  return bytesOf(values)
}

function toF16(values: Float32Array): Uint8Array {
  // set() converts in native code: 1.5 ns a value here, a loop over single values takes 8.
  const halves = new Float16Array(values.length)
  halves.set(values)
  const bits = new Uint16Array(halves.buffer)
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & F16_EXPONENT) === F16_EXPONENT) throw unfit(values, 'f16')
  }
  return bytesOf(bits)
}

function toBf16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i]!
    // Rounds to the nearest, ties to even; a carry into the exponent is right.
    const half = (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
    if ((half & BF16_EXPONENT) === BF16_EXPONENT) throw unfit(values, 'bf16')
    halves[i] = half
  }
  return bytesOf(halves)
}

function toInt8(values: Float32Array, columns: number): Uint8Array {
  const rows = values.length / columns
  const size = rowBytes('int8', columns)
  const bytes = new Uint8Array(rows * size)
  const levels = new Int8Array(bytes.buffer)
  const view = new DataView(bytes.buffer)
  for (let row = 0; row < rows; row++) {
    let scaleAt = row * size
    let at = scaleAt + 4 * Math.ceil(columns / BLOCK)
    for (let begin = row * columns; begin < (row + 1) * columns; begin += BLOCK) {
      const end = Math.min(begin + BLOCK, (row + 1) * columns)
      let most = 0
      let zero = 0
      for (let i = begin; i < end; i++) {
        const value = values[i]!
        zero += value * 0
        if (value > most) most = value
        else if (-value > most) most = -value
      }
      if (zero !== 0) throw unfit(values, 'f32')
      if (most > 127 * MAX_SCALE) throw unfit(values, 'int8')
      // Below the least normal float a scale is too coarse: such small values count as zero.
      const scale = most < 2e-36 ? 0 : Math.fround(most / 127)
      view.setFloat32(scaleAt, scale, true)
      scaleAt += 4
      const inverse = scale === 0 ? 0 : 1 / scale
      for (let i = begin; i < end; i++) {
        const level = values[i]! * inverse
        levels[at++] = level < 0 ? level - 0.5 : level + 0.5
      }
    }
  }
  return bytes
}

function fromF32(data: Uint8Array): Float32Array {
  const values = new Float32Array(data.byteLength / 4)
  bytesOf(values).set(data)
  if (!isFinite32(new Uint32Array(values.buffer))) throw notFinite()
  return values
}

let f16Table: Float32Array | undefined

/** Every float16 by its bits (256 KiB): a look-up takes 0.6 ns here, a conversion 1.5. */
function computeF16Table(): Float32Array {
  const bits = new Uint16Array(65_536)
  for (let i = 0; i < bits.length; i++) bits[i] = i
  return new Float32Array(new Float16Array(bits.buffer))
}

function fromF16(data: Uint8Array): Float32Array {
  f16Table ??= computeF16Table()
  const table = f16Table
  const bits = alignedHalves(data)
  const values = new Float32Array(bits.length)
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i]!
    if ((half & F16_EXPONENT) === F16_EXPONENT) throw notFinite()
    values[i] = table[half]!
  }
  return values
}

function fromBf16(data: Uint8Array): Float32Array {
  const halves = alignedHalves(data)
  const values = new Float32Array(halves.length)
  const bits = new Uint32Array(values.buffer)
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!
    if ((half & BF16_EXPONENT) === BF16_EXPONENT) throw notFinite()
    bits[i] = half << 16
  }
  return values
}

function fromInt8(data: Uint8Array, rows: number, columns: number): Float32Array {
  const values = new Float32Array(rows * columns)
  const levels = new Int8Array(data.buffer, data.byteOffset, data.byteLength)
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const size = rowBytes('int8', columns)
  for (let row = 0; row < rows; row++) {
    let scaleAt = row * size
    let at = scaleAt + 4 * Math.ceil(columns / BLOCK)
    for (let begin = row * columns; begin < (row + 1) * columns; begin += BLOCK) {
      const end = Math.min(begin + BLOCK, (row + 1) * columns)
      const scale = view.getFloat32(scaleAt, true)
      if (!(scale >= 0 && scale <= MAX_SCALE)) throw notFinite()
      scaleAt += 4
      for (let i = begin; i < end; i++) values[i] = scale * levels[at++]!
    }
  }
  return values
}

/** A frame's values may start at any byte; where they start at an odd one they are copied. */
function alignedHalves(data: Uint8Array): Uint16Array {
  // Not slice(): a Buffer's slice is a view, and copies nothing.
  const even = data.byteOffset % 2 === 0 ? data : new Uint8Array(data)
  return new Uint16Array(even.buffer as ArrayBuffer, even.byteOffset, even.byteLength / 2)
}

function isFinite32(bits: Uint32Array): boolean {
  let bad = 0
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & F32_EXPONENT) === F32_EXPONENT) bad = 1
  }
  return bad === 0
}

/** What is not finite is the maker's fault; a value over the range is the choice of the type. */
function unfit(values: Float32Array, dtype: WireDtype): Error {
  if (!values.every(Number.isFinite)) {
    return badInput('The tensor cannot be sent: it holds a value that is not finite')
  }
  return unsupported(`The tensor cannot be sent: it holds a value over the range of ${dtype}`, {
    hint: 'Let activations travel in a type of a wider range: --wire bf16 or --wire f32'
  })
}

function notFinite(): Error {
  return protocolError('The tensor is refused: it holds a value that is not finite')
}
