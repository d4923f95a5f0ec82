// Checks that an answer is what was asked for, with values that a block could have produced. Wrong
// values must not reach the next span, which would be blamed for its output, nor the sampler. Pure.
import type { BlockSpan } from '../../base/block-span.ts'
import { BLOCK, rowBytes } from '../../wire/tensor.ts'
import type { StepResult, WireTensor } from '../../wire/types.ts'

/** What is expected of a server: positions, the end of its blocks, and the type of its rows. */
export type Asked = Pick<StepResult, 'start' | 'count'> &
  Pick<BlockSpan, 'end'> &
  Pick<WireTensor, 'rows' | 'columns' | 'dtype'>

/** What is wrong with an answer, or undefined. */
export function answerFault(answer: StepResult, asked: Asked): string | undefined {
  const { tensor } = answer
  if (answer.start !== asked.start || answer.count !== asked.count) {
    return 'The server answered for other positions than were asked'
  }
  if (answer.end !== asked.end || tensor.rows !== asked.rows) {
    return `The server answered ${tensor.rows} rows up to block ${answer.end}`
  }
  if (tensor.columns !== asked.columns || tensor.dtype !== asked.dtype) {
    return `The server answered ${tensor.dtype} rows of ${tensor.columns}`
  }
  return isSoundTensor(tensor) ? undefined : 'The server answered values that no block makes'
}

/** Larger values, squared and summed by the norm of the next block, would overflow a float. */
const MOST_VALUE = 2 ** 53
const MOST_EXPONENT = (127 + 53) << 23

export function isSoundTensor(tensor: WireTensor): boolean {
  const { dtype, rows, columns, data } = tensor
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  switch (dtype) {
    case 'f32':
      for (let at = 0; at + 4 <= data.byteLength; at += 4) {
        if ((view.getUint32(at, true) & 0x7f800000) >>> 0 >= MOST_EXPONENT) return false
      }
      return true
    case 'bf16':
      for (let at = 0; at + 2 <= data.byteLength; at += 2) {
        if ((view.getUint16(at, true) & 0x7f80) << 16 >= MOST_EXPONENT) return false
      }
      return true
    case 'f16':
      for (let at = 0; at + 2 <= data.byteLength; at += 2) {
        if ((view.getUint16(at, true) & 0x7c00) === 0x7c00) return false
      }
      return true
    case 'int8': {
      const size = rowBytes('int8', columns)
      const scales = Math.ceil(columns / BLOCK)
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < scales; i++) {
          const scale = view.getFloat32(row * size + 4 * i, true)
          if (!(scale >= 0 && scale < MOST_VALUE / 128)) return false
        }
      }
      return true
    }
    default:
      return false
  }
}
