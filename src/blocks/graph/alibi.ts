// ALiBi: attention scores are lowered with distance, with a slope for each head.
import { alibiSlopes } from '../families/facts.ts'
import type { GraphBuilder, Value } from './builder.ts'

/** Element types as ONNX numbers them. */
const FLOAT = 1
const INT64 = 7

/**
 * The bias of scores, (1, heads, count, total): slope times (key position - query position). So a
 * row's scores are the same to the bit wherever its step began and ended. `total` counts all
 * tokens; the rows (1, count, ...) of this run are the last of them.
 */
export function alibiBias(
  builder: GraphBuilder,
  heads: number,
  from: { total: Value; rows: Value; scale: number }
): Value {
  return builder.shared(`alibi.${from.total}`, () => {
    const number = (name: string, value: bigint, dims: readonly number[]): Value =>
      builder.constant(`alibi.${name}`, 'i64', dims, new Uint8Array(BigInt64Array.of(value).buffer))
    const axis = [number('axis0', 0n, [1]), number('axis1', 1n, [1]), number('axis2', 2n, [1])]
    const [first = '', second = '', third = ''] = axis
    const one = number('one', 1n, [])
    const scalar = (x: Value): Value => builder.node('Squeeze', [x, first])
    const total = scalar(builder.node('Cast', [from.total], { attributes: { to: INT64 } }))
    const count = scalar(builder.node('Slice', [builder.node('Shape', [from.rows]), second, third]))
    const keys = builder.node('Range', [number('none', 0n, []), total, one])
    const start = builder.node('Sub', [total, count])
    const queries = builder.node('Range', [start, total, one])
    const column = builder.node('Unsqueeze', [queries, second])
    const distance = builder.node('Cast', [builder.node('Sub', [keys, column])], {
      attributes: { to: FLOAT }
    })
    const slopes = builder.constant(
      'alibi.slopes',
      'f32',
      [1, heads, 1, 1],
      new Uint8Array(alibiSlopes(heads).map((slope) => slope * from.scale).buffer)
    )
    return builder.node('Mul', [slopes, distance])
  })
}
