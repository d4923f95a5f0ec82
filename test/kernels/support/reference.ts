// What the kernels' operations come to in float64, written down as textbooks have them.

/** y (rows) = matrix (rows, columns) times x. */
export function times(
  source: ArrayLike<number>,
  x: ArrayLike<number>,
  bias?: ArrayLike<number>
): number[] {
  const columns = x.length
  return Array.from({ length: source.length / columns }, (_, row) => {
    let sum = bias?.[row] ?? 0
    for (let i = 0; i < columns; i++) sum += (source[row * columns + i] ?? 0) * (x[i] ?? 0)
    return sum
  })
}

export function rmsNorm(x: ArrayLike<number>, weight: ArrayLike<number>, eps: number): number[] {
  const values = Array.from(x)
  const mean = values.reduce((sum, value) => sum + value * value, 0) / values.length
  return values.map((value, i) => (value / Math.sqrt(mean + eps)) * (weight[i] ?? 0))
}

export function layerNorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  eps: number
): number[] {
  const values = Array.from(x)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const spread = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  return values.map(
    (value, i) => ((value - mean) / Math.sqrt(spread + eps)) * (weight[i] ?? 0) + (bias[i] ?? 0)
  )
}

export const silu = (x: number): number => x / (1 + Math.exp(-x))
export const geluErf = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2))
export const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** By its series near 0, by the continued fraction of erfc beyond. */
export function erf(x: number): number {
  const size = Math.abs(x)
  if (size > 6) return Math.sign(x)
  if (size < 2.5) {
    let term = x
    let sum = x
    for (let n = 1; n < 100; n++) {
      term *= (-x * x) / n
      sum += term / (2 * n + 1)
    }
    return (2 / Math.sqrt(Math.PI)) * sum
  }
  let fraction = 0
  for (let n = 120; n > 0; n--) fraction = n / 2 / (size + fraction)
  const complement = Math.exp(-size * size) / Math.sqrt(Math.PI) / (size + fraction)
  return Math.sign(x) * (1 - complement)
}

export function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores)
  const parts = scores.map((score) => Math.exp(score - most))
  const sum = parts.reduce((total, part) => total + part, 0)
  return parts.map((part) => part / sum)
}

export interface AttentionFacts {
  heads: number
  kvHeads: number
  headDim: number
  scale?: number
  window?: number
  softCap?: number
  rope?: { cos: Float32Array; sin: Float32Array; rotary: number }
  headNorms?: { query: Float32Array; key: Float32Array; epsilon: number }
  slopes?: Float32Array
  sinks?: Float32Array
}

/** Causal attention over rows of queries, keys and values side by side; row n is at position n. */
export function attention(rows: readonly ArrayLike<number>[], facts: AttentionFacts): number[][] {
  const { heads, kvHeads, headDim, rope, headNorms } = facts
  const head = (row: ArrayLike<number>, at: number): number[] =>
    Array.from(row).slice(at * headDim, (at + 1) * headDim)
  const turned = (x: number[], position: number): number[] => {
    if (rope === undefined) return x
    const half = rope.rotary / 2
    const out = x.slice()
    for (let i = 0; i < half; i++) {
      const c = rope.cos[position * half + i] ?? 0
      const s = rope.sin[position * half + i] ?? 0
      const [a = 0, b = 0] = [x[i], x[i + half]]
      out[i] = a * c - b * s
      out[i + half] = b * c + a * s
    }
    return out
  }
  const prepared = (x: number[], weight: Float32Array | undefined, position: number): number[] => {
    const normed = weight === undefined ? x : rmsNorm(x, weight, headNorms?.epsilon ?? 0)
    return turned(normed, position)
  }
  const keys = rows.map((row, position) =>
    Array.from({ length: kvHeads }, (_, at) =>
      prepared(head(row, heads + at), headNorms?.key, position)
    )
  )
  const values = rows.map((row) =>
    Array.from({ length: kvHeads }, (_, at) => head(row, heads + kvHeads + at))
  )
  return rows.map((row, position) =>
    Array.from({ length: heads }, (_, at) => {
      const query = prepared(head(row, at), headNorms?.query, position)
      const group = Math.floor(at / (heads / kvHeads))
      const first = facts.window === undefined ? 0 : Math.max(0, position - facts.window + 1)
      const scores: number[] = []
      for (let j = first; j <= position; j++) {
        const key = keys[j]?.[group] ?? []
        let score = query.reduce((sum, value, i) => sum + value * (key[i] ?? 0), 0)
        score *= facts.scale ?? headDim ** -0.5
        if (facts.softCap !== undefined) score = facts.softCap * Math.tanh(score / facts.softCap)
        score += (facts.slopes?.[at] ?? 0) * (j - position)
        scores.push(score)
      }
      if (facts.sinks !== undefined) scores.push(facts.sinks[at] ?? 0)
      const shares = softmax(scores)
      const out = Array.from({ length: headDim }, () => 0)
      for (let j = first; j <= position; j++) {
        const value = values[j]?.[group] ?? []
        for (let i = 0; i < headDim; i++) {
          out[i] = (out[i] ?? 0) + (shares[j - first] ?? 0) * (value[i] ?? 0)
        }
      }
      return out
    }).flat()
  )
}
