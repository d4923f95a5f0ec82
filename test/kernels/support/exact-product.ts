// Matrix products as arithmetic.ts defines them, one number at a time.
import type { Block } from './file-blocks.ts'

const { fround } = Math
const double = new Float64Array(1)
const double64 = new BigInt64Array(double.buffer)

/** a * b + c of float32s, rounded once: the sum is rounded to odd in double, then to float32. */
export function fma(a: number, b: number, c: number): number {
  const product = a * b
  const sum = product + c
  const part = sum - product
  const error = product - (sum - part) + (c - part)
  double[0] = sum
  if ((error > 0 || error < 0) && (double64[0]! & 1n) === 0n) {
    double64[0]! += error > 0 === sum > 0 ? 1n : -1n
  }
  return fround(double[0])
}

/** The nearest integer, ties to even. */
function nearestEven(value: number): number {
  const down = Math.floor(value)
  const rest = value - down
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1
  return down % 2 === 0 ? down : down + 1
}

export interface RoundedBlock {
  readonly q: number[]
  readonly d: number
}

export function roundRow(x: Float32Array): RoundedBlock[] {
  const blocks: RoundedBlock[] = []
  for (let k = 0; k < x.length; k += 32) {
    const values = Array.from({ length: 32 }, (_, i) => x[k + i] ?? 0)
    const largest = Math.max(...values.map(Math.abs))
    if (largest < 2 ** -100) {
      blocks.push({ q: values.map(() => 0), d: 0 })
      continue
    }
    const inverse = fround(127 / largest)
    const q = values.map((value) => nearestEven(fround(value * inverse)))
    blocks.push({ q, d: fround(largest / 127) })
  }
  return blocks
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
const dot = (a: readonly number[], b: readonly number[]): number =>
  sum(a.map((value, i) => value * b[i]!))

/** One element: a row of weights times a rounded row. */
export function roundedProduct(weights: readonly Block[], x: readonly RoundedBlock[]): number {
  let y = 0
  weights.forEach(({ codes, scale, factors, minimums }, b) => {
    const { q, d } = x[b]!
    const parts = [
      [codes.slice(0, 16), q.slice(0, 16)],
      [codes.slice(16), q.slice(16)]
    ] as const
    const [low, high] = factors ?? [1, 1]
    const whole = low * dot(...parts[0]) + high * dot(...parts[1])
    y = fma(whole, fround(scale * d), y)
    const sums = minimums?.length === 2 ? parts.map(([, part]) => sum(part)) : [sum(q)]
    minimums?.forEach((minimum, i) => {
      y = fma(minimum, fround(d * sums[i]!), y)
    })
  })
  return y
}

/** One element: a row of weights times a row, in floats. */
export function floatProduct(weights: Float32Array, x: Float32Array): number {
  return weights.reduce((y, weight, k) => fma(weight, x[k]!, y), 0)
}
