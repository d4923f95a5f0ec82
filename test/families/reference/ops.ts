// The plain operations of language models in float64, row by row, as textbooks write them.
// Shares nothing with src/: what is checked must not check itself.

export type Row = Float64Array
export type Rows = readonly Row[]

/** A matrix (rows, columns) or a vector, as a file has it. */
export interface Weight {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

export const row = (length: number, value: (i: number) => number): Row =>
  Float64Array.from({ length }, (_, i) => value(i))

export const add = (a: Row, b: Row): Row => row(a.length, (i) => a[i]! + b[i]!)
export const times = (a: Row, b: Row): Row => row(a.length, (i) => a[i]! * b[i]!)

/** weight (out, in) times x, plus a bias if there is one. */
export function apply(weight: Weight, x: Row, bias?: Weight): Row {
  const [out = 0, width = 0] = weight.shape
  return row(out, (i) => {
    let sum = bias === undefined ? 0 : bias.values[i]!
    for (let j = 0; j < width; j++) sum += weight.values[i * width + j]! * x[j]!
    return sum
  })
}

/** x over the root of its mean square, times a weight plus `plus`. */
export function rms(x: Row, weight: Weight, epsilon: number, plus = 0): Row {
  let squares = 0
  for (const value of x) squares += value * value
  const scale = 1 / Math.sqrt(squares / x.length + epsilon)
  return row(x.length, (i) => x[i]! * scale * (weight.values[i]! + plus))
}

export function layerNorm(x: Row, weight: Weight, bias: Weight, epsilon: number): Row {
  let sum = 0
  for (const value of x) sum += value
  const mean = sum / x.length
  let squares = 0
  for (const value of x) squares += (value - mean) ** 2
  const scale = 1 / Math.sqrt(squares / x.length + epsilon)
  return row(x.length, (i) => (x[i]! - mean) * scale * weight.values[i]! + bias.values[i]!)
}

export const silu = (x: number): number => x / (1 + Math.exp(-x))
export const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
export const geluErf = (x: number): number => 0.5 * x * (1 + erf(x / Math.SQRT2))

/** By its series, to the last bits for what tests feed it. */
function erf(x: number): number {
  if (Math.abs(x) > 5.8) return Math.sign(x)
  let [term, sum] = [x, x]
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 300; n++) {
    term *= -(x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

export function softmax(scores: readonly number[]): number[] {
  const most = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - most))
  const sum = powers.reduce((total, power) => total + power, 0)
  return powers.map((power) => power / sum)
}

/**
 * Pairs (i, i + half) of a head turned by position times each of `half` frequencies, and multiplied
 * by `size`; what lies behind them stays.
 */
export function turn(head: Row, position: number, frequencies: readonly number[], size = 1): Row {
  const half = frequencies.length
  const out = Float64Array.from(head)
  for (let i = 0; i < half; i++) {
    const angle = position * frequencies[i]!
    const [cos, sin] = [size * Math.cos(angle), size * Math.sin(angle)]
    out[i] = head[i]! * cos - head[i + half]! * sin
    out[i + half] = head[i + half]! * cos + head[i]! * sin
  }
  return out
}

export interface AttentionFacts {
  readonly headCount: number
  readonly kvHeadCount: number
  readonly headDim: number
  readonly scale?: number
  readonly softCap?: number | undefined
  /** Tokens seen, the query's own included. */
  readonly window?: number | undefined
  /** Added to a score before the soft cap; after scaling. */
  readonly bias?: (head: number, query: number, key: number) => number
}

/** Causal attention of all rows; queries, keys and values are rows of heads side by side. */
export function attend(queries: Rows, keys: Rows, values: Rows, facts: AttentionFacts): Row[] {
  const { headCount, kvHeadCount, headDim, softCap, window, bias } = facts
  const { scale = headDim ** -0.5 } = facts
  const shared = headCount / kvHeadCount
  return queries.map((query, at) => {
    const out = new Float64Array(headCount * headDim)
    const first = window === undefined ? 0 : Math.max(0, at - window + 1)
    for (let head = 0; head < headCount; head++) {
      const kv = Math.floor(head / shared) * headDim
      const scores: number[] = []
      for (let to = first; to <= at; to++) {
        let score = 0
        for (let i = 0; i < headDim; i++) score += query[head * headDim + i]! * keys[to]![kv + i]!
        score = score * scale + (bias?.(head, at, to) ?? 0)
        scores.push(softCap === undefined ? score : softCap * Math.tanh(score / softCap))
      }
      for (const [i, share] of softmax(scores).entries()) {
        const value = values[first + i]!
        for (let j = 0; j < headDim; j++) out[head * headDim + j]! += share * value[kv + j]!
      }
    }
    return out
  })
}

/** Each head of a row changed by itself. */
export function byHead(x: Row, headDim: number, change: (head: Row) => Row): Row {
  const out = new Float64Array(x.length)
  for (let at = 0; at < x.length; at += headDim) {
    out.set(change(x.slice(at, at + headDim)), at)
  }
  return out
}
