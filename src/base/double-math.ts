// exp, log, powers, sine and cosine in float64, of additions and multiplications alone: the
// language leaves its own to each system's library, and their last bits differ. Tables of positions
// and the sampler rest on these, so that one text comes out everywhere. Within 2 units in the last
// place.

const LN2_HIGH = 6.9314718036912381649e-1
const LN2_LOW = 1.90821492927058770002e-10
const LOG2_E = 1.4426950408889634
/** Half of pi in three parts: multiples of the first two are exact up to 2^20 of them. */
const HALF_PI = [
  1.57079632673412561417, 6.0771005063039659766e-11, 2.02226624879595063154e-21
] as const
const SQRT_HALF = 0.7071067811865476

const float = new Float64Array(1)
const words = new Uint32Array(float.buffer)

/** 2 ** n for n that a normal number can have. */
function powerOfTwo(n: number): number {
  words[0] = 0
  words[1] = (n + 1023) * 2 ** 20
  return float[0]!
}

/** Nearest whole number; halves go up. */
const nearest = (x: number): number => Math.floor(x + 0.5)

export function exp(x: number): number {
  if (!(x < 709.7827128933841)) return x >= 0 ? Infinity : x
  if (x < -745.2) return 0
  const n = nearest(x * LOG2_E)
  const r = x - n * LN2_HIGH - n * LN2_LOW
  let sum = 1
  for (let term = 14; term > 0; term--) sum = 1 + (r * sum) / term
  const half = Math.floor(n / 2)
  return sum * powerOfTwo(half) * powerOfTwo(n - half)
}

/** Of numbers over 0; others have none. */
export function log(x: number): number {
  if (!(x > 0)) return x === 0 ? -Infinity : NaN
  if (x === Infinity) return x
  float[0] = x < 2 ** -1022 ? x * 2 ** 54 : x
  let exponent = (words[1]! >>> 20) - 1023 - (x < 2 ** -1022 ? 54 : 0)
  words[1] = (words[1]! & 0xfffff) | 0x3fe00000
  exponent++
  let mantissa = float[0]!
  if (mantissa < SQRT_HALF) {
    mantissa *= 2
    exponent--
  }
  // The series of the area tangent.
  const s = (mantissa - 1) / (mantissa + 1)
  const z = s * s
  let sum = 0
  for (let term = 25; term > 1; term -= 2) sum = z * (1 / term + sum)
  return exponent * LN2_HIGH + (2 * s * sum + exponent * LN2_LOW + 2 * s)
}

/** base ** exponent, of a base over 0. */
export function power(base: number, exponent: number): number {
  return exp(exponent * log(base))
}

/** Of angles up to 1,600,000, which is beyond any position. */
export function cosine(x: number): number {
  return turned(x, 1)
}

export function sine(x: number): number {
  return turned(x, 0)
}

/** Sine of x + quarters * pi / 2. */
function turned(x: number, quarters: number): number {
  const n = nearest(x / 1.5707963267948966)
  const r = x - n * HALF_PI[0] - n * HALF_PI[1] - n * HALF_PI[2]
  const z = r * r
  const quarter = (((n + quarters) % 4) + 4) % 4
  let sum = 1
  if (quarter % 2 === 0) {
    for (let term = 18; term > 0; term -= 2) sum = 1 - (z * sum) / (term * (term + 1))
    sum *= r
  } else {
    for (let term = 18; term > 0; term -= 2) sum = 1 - (z * sum) / (term * (term - 1))
  }
  return quarter < 2 ? sum : -sum
}
