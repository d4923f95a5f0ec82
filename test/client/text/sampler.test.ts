import { expect, test } from 'bun:test'
import type { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import {
  argmax,
  createSampler,
  distribution,
  draw,
  resolveSampling,
  type SamplingOptions
} from '../../../src/client/text/sampler.ts'

const logits = Float32Array.of(1, 3, 2, -1, 3)

function shares(options: SamplingOptions, recent: number[] = []): Record<number, number> {
  const { ids, probabilities } = distribution(logits, resolveSampling(options), recent)
  return Object.fromEntries(
    [...ids].map((id, i) => [id, Number((probabilities[i] ?? 0).toFixed(6))])
  )
}

test('argmax() takes the lowest id of equal logits', () => {
  expect(argmax(logits)).toBe(1)
})

test('argmax() refuses logits that are not finite', () => {
  const codes = [Float32Array.of(Number.NaN), Float32Array.of(0, Infinity)].map((bad) => {
    try {
      return argmax(bad)
    } catch (error) {
      return (error as { code: string }).code
    }
  })
  expect(codes).toEqual(['COMPUTE', 'COMPUTE'])
})

test('distribution() at temperature 0 is certain of the largest logit', () => {
  expect(shares({ temperature: 0 })).toEqual({ 1: 1 })
})

test('distribution() at temperature 1 is the softmax', () => {
  const weights = [...logits].map((logit) => Math.exp(logit))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const expected = Object.fromEntries(
    weights.map((weight, id) => [id, Number((weight / total).toFixed(6))])
  )
  expect(shares({ temperature: 1, topP: 1 })).toEqual(expected)
})

test('distribution() with top-k keeps the k most probable, lower ids first among equals', () => {
  expect(shares({ temperature: 1, topP: 1, topK: 1 })).toEqual({ 1: 1 })
})

test('distribution() with top-p keeps the smallest set that reaches it', () => {
  expect(shares({ temperature: 1, topP: 0.7 })).toEqual({ 1: 0.5, 4: 0.5 })
})

test('distribution() with min-p drops what is less probable than its share of the best', () => {
  expect(Object.keys(shares({ temperature: 1, topP: 1, minP: 0.3 }))).toEqual(['1', '2', '4'])
})

test('distribution() penalises ids of the window only', () => {
  const options = { temperature: 0, repetitionPenalty: 2, repetitionWindow: 2 }
  expect([shares(options, [1, 0, 3]), shares(options, [0, 1, 3])]).toEqual([{ 1: 1 }, { 4: 1 }])
})

/** What the options say, by sorting everything. */
function plainDistribution(values: Float32Array, options: SamplingOptions): Map<number, number> {
  const { temperature, topK, topP, minP } = resolveSampling(options)
  const peak = Math.max(...values)
  let kept = [...values.entries()]
    .map(([id, logit]) => ({ id, logit, weight: Math.exp((logit - peak) / temperature) }))
    .filter(({ weight }) => weight >= Math.max(minP, Math.exp(-40)))
    .sort((a, b) => b.logit - a.logit || a.id - b.id)
  if (topK > 0) kept = kept.slice(0, topK)
  const sum = (): number => kept.reduce((total, { weight }) => total + weight, 0)
  const total = sum()
  let reached = 0
  const end = kept.findIndex(({ weight }) => (reached += weight / total) >= topP)
  if (topP < 1 && end >= 0) kept = kept.slice(0, end + 1)
  const rest = sum()
  return new Map(kept.map(({ id, weight }) => [id, weight / rest]))
}

test('distribution() over a large vocabulary is that of sorting all of it', () => {
  const random = seededRandom(9)
  for (let round = 0; round < 120; round++) {
    const spread = [0.01, 1, 10, 300][round % 4] ?? 1
    const values = Float32Array.from({ length: 3000 }, () => (random.next() - 0.5) * spread)
    // Some equal ones, some zeros of either sign, some that a model forbids.
    for (let i = 0; i < 300; i++) values[random.below(3000)] = [0, -0, 0.25, -Infinity][i % 4] ?? 0
    const options = {
      temperature: [0.05, 0.7, 1, 5][random.below(4)] ?? 1,
      topP: [0.1, 0.5, 0.95, 1][random.below(4)] ?? 1,
      topK: [0, 0, 1, 40, 5000][random.below(5)] ?? 0,
      minP: [0, 0, 0.1][random.below(3)] ?? 0
    }
    const { ids, probabilities } = distribution(values, resolveSampling(options), [])
    const plain = plainDistribution(values, options)
    expect({ round, ids: [...ids] }).toEqual({ round, ids: [...plain.keys()] })
    for (const [i, id] of ids.entries()) {
      expect(probabilities[i]).toBeCloseTo(plain.get(id) ?? 0, 10)
    }
  }
})

test('a sampler with the same seed draws the same ids', () => {
  const run = (seed: number): number[] => {
    const sampler = createSampler({ temperature: 2, seed })
    return Array.from({ length: 50 }, () => sampler.next(logits, []))
  }
  expect(run(5)).toEqual(run(5))
  expect(run(5)).not.toEqual(run(6))
})

test('draw() takes ids as often as their probability says', () => {
  const random = seededRandom(42)
  const from = distribution(logits, resolveSampling({ temperature: 1, topP: 1 }), [])
  const counts = new Map<number, number>()
  const draws = 200_000
  for (let i = 0; i < draws; i++) {
    const id = draw(from, random)
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  // Pearson's statistic over 4 degrees of freedom; 23.5 is passed once in 10,000 seeds.
  let statistic = 0
  for (const [i, id] of from.ids.entries()) {
    const expected = (from.probabilities[i] ?? 0) * draws
    statistic += ((counts.get(id) ?? 0) - expected) ** 2 / expected
  }
  expect(statistic).toBeLessThan(23.5)
})

test('what resolveSampling() refuses comes with the range that it takes', () => {
  const hints = [{ temperature: -1 }, { topP: 0 }, { topK: -2 }].map((options) => {
    try {
      resolveSampling(options)
    } catch (error) {
      return (error as AppError).hint
    }
  })
  expect(hints).toEqual([
    'Give a number from 0 to 100',
    'Give a number over 0, at most 1',
    'Give a whole number from 0 to 2147483648'
  ])
})

test('resolveSampling() names what it refuses', () => {
  expect(() => resolveSampling({ temperature: -1 })).toThrow("The temperature cannot be '-1'")
  expect(() => resolveSampling({ topP: 0 })).toThrow("The top-p cannot be '0'")
  expect(() => resolveSampling({ topK: 1.5 })).toThrow("The top-k cannot be '1.5'")
  expect(() => resolveSampling({ seed: -3 })).toThrow("The seed cannot be '-3'")
})
