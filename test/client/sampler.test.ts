import { expect, test } from 'bun:test'
import { seededRandom } from '../../src/base/random.ts'
import {
  argmax,
  createSampler,
  distribution,
  draw,
  resolveSampling,
  type SamplingOptions
} from '../../src/client/sampler.ts'

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

test('resolveSampling() names what it refuses', () => {
  expect(() => resolveSampling({ temperature: -1 })).toThrow("The temperature cannot be '-1'")
  expect(() => resolveSampling({ topP: 0 })).toThrow("The top-p cannot be '0'")
  expect(() => resolveSampling({ topK: 1.5 })).toThrow("The top-k cannot be '1.5'")
  expect(() => resolveSampling({ seed: -3 })).toThrow("The seed cannot be '-3'")
})
