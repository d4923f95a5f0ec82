import { expect, test } from 'bun:test'
import { cosine, exp, log, power, sine } from '../../src/base/double-math.ts'
import { hashOf, Numbers } from '../kernels/support/world.ts'

const numbers = new Numbers(17)
const many = (of: (at: number) => number): number[] =>
  Array.from({ length: 20_000 }, (_, i) => of(i))

/** Largest error beside the exact value, or beside 1 where that is larger. */
function error(
  xs: readonly number[],
  got: (x: number) => number,
  exact: (x: number) => number,
  floor = 0
): number {
  return xs.reduce((most, x) => {
    const value = exact(x)
    return Math.max(most, Math.abs(got(x) - value) / Math.max(Math.abs(value), floor))
  }, 0)
}

test('exp() is right to 2 units in the last place', () => {
  const xs = many(() => numbers.next() * 700)
  expect(error(xs, exp, Math.exp)).toBeLessThan(2 * 2 ** -52)
  expect([exp(0), exp(-1000), exp(1000), exp(-Infinity)]).toEqual([1, 0, Infinity, 0])
  expect(exp(NaN)).toBeNaN()
  expect(exp(-745) / Math.exp(-745)).toBe(1)
})

test('log() is right to 2 units in the last place', () => {
  const xs = many((i) => (1 + numbers.next() * 0.999) * 10 ** ((i % 300) - 150))
  expect(error(xs, log, Math.log)).toBeLessThan(2 * 2 ** -52)
  expect([log(1), log(0), log(Infinity), log(-1)]).toEqual([0, -Infinity, Infinity, NaN])
  expect(log(5e-324) / Math.log(5e-324)).toBeCloseTo(1, 14)
})

test('power() is right where tables of positions need it', () => {
  const xs = many(() => -Math.abs(numbers.next()))
  for (const base of [10_000, 500_000, 1_000_000]) {
    expect(
      error(
        xs,
        (x) => power(base, x),
        (x) => base ** x
      )
    ).toBeLessThan(20 * 2 ** -52)
  }
})

test('sine() and cosine() are right to a few units in the last place of 1, of large angles too', () => {
  const xs = many((i) => numbers.next() * 10 ** ((i % 8) - 1))
  expect(error(xs, sine, Math.sin, 1)).toBeLessThan(2 * 2 ** -52)
  expect(error(xs, cosine, Math.cos, 1)).toBeLessThan(2 * 2 ** -52)
  expect([sine(0), cosine(0)]).toEqual([0, 1])
})

test('their bits are the pinned ones', () => {
  const fixed = new Numbers(5)
  const values = Float64Array.from({ length: 4000 }, (_, i) => {
    const x = fixed.next() * 20
    return [exp(x), log(x * x), sine(x * 1000), cosine(x * 1000)][i % 4] ?? 0
  })
  expect(hashOf(new Float32Array(values.buffer))).toBe('26a425d3656008f')
})
