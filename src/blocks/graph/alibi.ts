// ALiBi: attention's scores lose with distance, each head by a slope of its own.
import type { GraphBuilder, Value } from './builder.ts'

/** Of how many heads the slopes are a plain geometric row from 2 ** (-8 / heads) down to 2 ** -8. */
export function alibiSlopes(heads: number): Float32Array {
  const whole = 2 ** Math.floor(Math.log2(heads))
  return Float32Array.from({ length: heads }, (_, head) =>
    // Heads beyond a power of two take every other slope of twice as many.
    head < whole ? 2 ** ((-8 * (head + 1)) / whole) : 2 ** ((-4 * (2 * (head - whole) + 1)) / whole)
  )
}

/**
 * What is added to scores, (1, heads, count, total): slope times the key's position less the last one's.
 * A query's own position would add the same to all its scores, which softmax does not see.
 */
export function alibiBias(
  builder: GraphBuilder,
  heads: number,
  from: { total: Value; rows: Value; scale: number }
): Value {
  return builder.shared(`alibi.${from.total}`, () => {
    const scalar = (name: string, value: bigint): Value =>
      builder.constant(name, 'i64', [], new Uint8Array(BigInt64Array.of(value).buffer))
    const list = (name: string, ...values: bigint[]): Value =>
      builder.constant(
        name,
        'i64',
        [values.length],
        new Uint8Array(BigInt64Array.from(values).buffer)
      )
    const [none, one] = [scalar('alibi.none', 0n), scalar('alibi.one', 1n)]
    const first = list('alibi.first', 0n)
    const second = list('alibi.second', 1n)
    const third = list('alibi.third', 2n)
    const batch = list('alibi.batch', 1n)
    const total = builder.node('Cast', [from.total], { attributes: { to: 7 } })
    const limit = builder.node('Squeeze', [total, first])
    const keys = builder.node('Range', [none, limit, one])
    const distance = builder.node('Add', [builder.node('Sub', [keys, limit]), one])
    const slopes = builder.constant(
      'alibi.slopes',
      'f32',
      [1, heads, 1, 1],
      new Uint8Array(alibiSlopes(heads).map((slope) => slope * from.scale).buffer)
    )
    const scores = builder.node('Mul', [
      slopes,
      builder.node('Cast', [distance], { attributes: { to: 1 } })
    ])
    const count = builder.node('Slice', [builder.node('Shape', [from.rows]), second, third])
    const shape = builder.node(
      'Concat',
      [batch, list('alibi.heads', BigInt(heads)), count, total],
      {
        attributes: { axis: 0 }
      }
    )
    return builder.node('Expand', [scores, shape])
  })
}
