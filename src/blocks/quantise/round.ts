// Rounds float rows to blocks of 4 or 8 bit integers with a scale each, symmetric around zero.
// Knows no source types.
import type { BlockArrays } from './encode.ts'
import type { BlockForm } from './form.ts'

/**
 * Rounds `floats` (rows, columns) into `out` from row `first` on. Short last blocks are filled with
 * zeros. 4 bits use the sign of the largest value for the one code that has no opposite, as ggml does.
 */
export function roundBlocks(
  floats: Float32Array,
  columns: number,
  form: BlockForm,
  out: BlockArrays,
  first: number
): void {
  const { bits, block } = form
  const rows = floats.length / columns
  const count = Math.ceil(columns / block)
  const zero = 2 ** (bits - 1)
  const top = 2 * zero - 1
  const codes = new Uint8Array(block)
  for (let row = 0; row < rows; row++) {
    for (let b = 0; b < count; b++) {
      const from = row * columns + b * block
      const length = Math.min(block, columns - b * block)
      let peak = 0
      let sum = 0
      for (let i = 0; i < length; i++) {
        const value = floats[from + i]!
        sum += value
        if (Math.abs(value) > Math.abs(peak)) peak = value
      }
      const scale = bits === 4 ? peak / -zero : Math.abs(peak) / (zero - 1)
      const inverse = scale === 0 ? 0 : 1 / scale
      codes.fill(zero)
      for (let i = 0; i < length; i++) {
        const code = Math.round(floats[from + i]! * inverse) + zero
        codes[i] = code < 0 ? 0 : code > top ? top : code
      }
      const at = (first + row) * count + b
      // A NaN leaves no trace in the integers.
      out.scales[at] = Number.isFinite(sum) ? scale : Number.NaN
      storeCodes(codes, bits, out.values, (at * block * bits) / 8)
    }
  }
}

/** Writes one block's codes: a byte each, or two to a byte with the first in the low half. */
export function storeCodes(codes: Uint8Array, bits: number, values: Uint8Array, at: number): void {
  if (bits === 8) {
    values.set(codes, at)
    return
  }
  for (let i = 0; i < codes.length; i += 2) values[at + i / 2] = codes[i]! | (codes[i + 1]! << 4)
}
