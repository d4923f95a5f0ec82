import { describe, expect, test } from 'bun:test'
import { epochOrder, microBatches, stepCount, stepsOf } from '../../src/tune/data/batches.ts'
import { parseExamples } from '../../src/tune/data/examples.ts'
import { adamW, clipGradients, newAdamWState } from '../../src/tune/optimise/adamw.ts'
import { learningRateAt } from '../../src/tune/optimise/schedule.ts'

describe('parseExamples()', () => {
  test('reads conversations, completions and texts, and skips empty lines', () => {
    const text = [
      '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}',
      '',
      '{"prompt":"c","completion":"d"}',
      '{"text":"e"}'
    ].join('\n')
    expect(parseExamples(text, 'f').map(({ kind, line }) => [kind, line])).toEqual([
      ['messages', 1],
      ['completion', 3],
      ['text', 4]
    ])
  })

  test('tells all bad lines at once, by number', () => {
    const text = [
      '{',
      '[]',
      '{"a":1}',
      '{"prompt":"x"}',
      '{"messages":[]}',
      '{"text":"fine"}'
    ].join('\n')
    expect(() => parseExamples(text, 'f.jsonl')).toThrow(
      /line 1: no JSON\n.*line 2: no JSON object\n.*line 3:.*\n.*line 4: 'completion' is no text\n.*line 5/
    )
  })

  test('refuses a file without examples', () => {
    expect(() => parseExamples('\n\n', 'f')).toThrow('it has no examples')
  })
})

describe('order', () => {
  test('is the same for a seed, another for another seed or epoch, and whole', () => {
    const order = epochOrder(50, 1, 0)
    expect(epochOrder(50, 1, 0)).toEqual(order)
    expect(epochOrder(50, 2, 0)).not.toEqual(order)
    expect(epochOrder(50, 1, 1)).not.toEqual(order)
    expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })

  test('makes as many steps as foretold, each example once in an epoch', () => {
    const options = { count: 10, batch: 4, epochs: 2, seed: 3 }
    const steps = [...stepsOf(options)]
    expect(steps.map(({ length }) => length)).toEqual([4, 4, 2, 4, 4, 2])
    expect(steps.length).toBe(stepCount(options))
  })

  test('lets neighbours travel together as far as rows permit', () => {
    expect(microBatches([3, 3, 5, 9, 1], (rows) => rows, 6)).toEqual([[3, 3], [5], [9], [1]])
  })
})

describe('AdamW', () => {
  test('does what torch.optim.AdamW does', () => {
    // torch 2.15: p = [0.5, -0.25, 1], lr 0.1, weight_decay 0.01, gradients g and then -2 g.
    const values = Float32Array.of(0.5, -0.25, 1)
    const state = newAdamWState(3)
    const gradient = Float32Array.of(0.1, -0.2, 0.003)
    const options = { learningRate: 0.1, weightDecay: 0.01 }
    adamW(values, gradient, state, options)
    expectNear(values, [0.3995, -0.14975, 0.89900035])
    adamW(
      values,
      gradient.map((value) => -2 * value),
      state,
      options
    )
    expectNear(values, [0.43571088, -0.18621063, 0.93471164])
  })

  test('gradients that are too long are shortened together', () => {
    const gradients = [Float32Array.of(3), Float32Array.of(4)]
    expect(clipGradients(gradients, 1)).toBe(5)
    expectNear(Float32Array.of(gradients[0]![0]!, gradients[1]![0]!), [0.6, 0.8])
    expect(clipGradients(gradients, 0)).toBeCloseTo(1, 5)
  })
})

test('the rate goes up and then down', () => {
  const rate = (kind: 'cosine' | 'linear', step: number): number =>
    learningRateAt({ kind, learningRate: 1, warmup: 3, steps: 13 }, step)
  expect([0, 1, 2, 3].map((step) => rate('linear', step))).toEqual([0.25, 0.5, 0.75, 1])
  expect(rate('linear', 8)).toBeCloseTo(0.5, 10)
  expect(rate('cosine', 8)).toBeCloseTo(0.5, 10)
  expect(rate('cosine', 13)).toBeCloseTo(0, 10)
})

function expectNear(values: Float32Array, expected: readonly number[]): void {
  for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 5)
}
