// Dropout of what an adapter reads: the definition's draws, the same bits however sequences travel,
// and gradients of what was really computed.
import { describe, expect, test } from 'bun:test'
import { adapterNumbers } from '../../../src/blocks/train/adapter-shape.ts'
import type { StepAdapter, StepDropout, TrainStep } from '../../../src/blocks/train/train-types.ts'
import { mixed, rowSeed } from '../../../src/kernels/gradient-operations.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { Numbers } from '../../kernels/support/world.ts'
import { testEngine } from '../support/engine-helpers.ts'

const { location } = readFixture('llama3')
const model = await openModel(location)
model.close()
const { config } = model
const width = config.hiddenSize
const range = { start: 0, end: config.blockCount }
const shape = {
  rank: 2,
  scale: 1.5,
  targets: ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.up_proj']
}
const SHARE = Math.fround(0.3)
const LENGTHS = [9, 1, 6]
const ROWS = 16

type WholeStep = TrainStep & {
  readonly gradient: Float32Array
  readonly adapter: StepAdapter
  readonly dropout: StepDropout
}

function stepOf(span: number): WholeStep {
  const numbers = new Numbers(7)
  return {
    span,
    range,
    lengths: LENGTHS,
    hidden: numbers.floats(ROWS * width),
    gradient: numbers.floats(ROWS * width),
    adapter: { shape, values: numbers.floats(adapterNumbers(config, shape, range), 0.3) },
    dropout: { share: SHARE, seeds: [11, 2 ** 32 - 1, 5] }
  }
}

test('draws are those of the definition, and as many as the share says are dropped', () => {
  // Pinned: another function would be another arithmetic.
  expect([0, 1, 2 ** 32 - 1].map(mixed)).toEqual([0, 1364076727, 2180083513])
  expect(rowSeed(11, 3)).toBe(mixed(11 + Math.imul(3, 0x9e3779b9)))
  let dropped = 0
  for (let i = 0; i < 20_000; i++) {
    if (mixed(rowSeed(3, 1) + Math.imul(i, 0x9e3779b9)) < SHARE * 2 ** 32) dropped++
  }
  expect(dropped / 20_000).toBeCloseTo(SHARE, 1)
})

describe('dropout', () => {
  test('is another for other seeds, and none without', async () => {
    using engine = testEngine()
    const { span } = await engine.load({ location, ...range, quant: 'f32' })
    const step = stepOf(span)
    const run = (change: Partial<TrainStep>): Float32Array =>
      engine.train({ ...step, gradient: undefined, ...change }).hidden
    const own = run({})
    expect(run({})).toEqual(own)
    expect(run({ dropout: { share: SHARE, seeds: [11, 2 ** 32 - 1, 6] } })).not.toEqual(own)
    expect(run({ dropout: undefined })).not.toEqual(own)
    const other = run({ dropout: { share: SHARE, seeds: [12, 2 ** 32 - 1, 5] } })
    // Only the sequence whose seed it is.
    expect(other.subarray(9 * width)).toEqual(own.subarray(9 * width))
    expect(other.subarray(0, 9 * width)).not.toEqual(own.subarray(0, 9 * width))
  })

  test('gives the same bits for sequences alone, for spans, and backwards after anything', async () => {
    using engine = testEngine()
    const { span } = await engine.load({ location, ...range, quant: 'f32' })
    const step = stepOf(span)
    const forward = engine.train({ ...step, gradient: undefined })
    const back = engine.train(step)
    // What was kept was taken: now everything is computed anew.
    expect(engine.train(step)).toEqual(back)
    let first = 0
    for (const [index, length] of LENGTHS.entries()) {
      const end = first + length
      const alone = {
        ...step,
        lengths: [length],
        hidden: step.hidden.slice(first * width, end * width),
        gradient: step.gradient.slice(first * width, end * width),
        dropout: { share: SHARE, seeds: [step.dropout.seeds[index]!] }
      }
      expect(engine.train({ ...alone, gradient: undefined }).hidden).toEqual(
        forward.hidden.slice(first * width, end * width)
      )
      expect(engine.train(alone).hidden).toEqual(back.hidden.slice(first * width, end * width))
      first = end
    }
    let rows = step.hidden
    const each = step.adapter.values.length / config.blockCount
    for (let start = 0; start < config.blockCount; start++) {
      const own = { start, end: start + 1 }
      const part = await engine.load({ location, ...own, quant: 'f32' })
      const values = step.adapter.values.slice(start * each, (start + 1) * each)
      const one = { ...step, span: part.span, range: own, adapter: { shape, values } }
      rows = engine.train({ ...one, hidden: rows, gradient: undefined }).hidden
    }
    expect(rows).toEqual(forward.hidden)
  })

  test('has the gradients of finite differences', async () => {
    using engine = testEngine()
    const { span } = await engine.load({ location, ...range, quant: 'f32' })
    const step = stepOf(span)
    const back = engine.train(step)
    const total = (change: Partial<TrainStep>): number => {
      const { hidden } = engine.train({ ...step, ...change, gradient: undefined })
      return hidden.reduce((sum, value, i) => sum + value * step.gradient[i]!, 0)
    }
    const size = 2 ** -6
    const compare = (
      list: Float32Array,
      gradient: Float32Array,
      change: (list: Float32Array) => Partial<TrainStep>
    ): void => {
      const most = gradient.reduce((all, one) => Math.max(all, Math.abs(one)), 0)
      for (let i = 3; i < list.length; i += Math.ceil(list.length / 12)) {
        const [up, down] = [list.slice(), list.slice()]
        up[i] = up[i]! + size
        down[i] = down[i]! - size
        const slope = (total(change(up)) - total(change(down))) / (up[i]! - down[i]!)
        expect(Math.abs(slope - gradient[i]!) / most).toBeLessThan(0.02)
      }
    }
    compare(step.hidden, back.hidden, (hidden) => ({ hidden }))
    compare(step.adapter.values, back.adapterGradient ?? new Float32Array(), (values) => ({
      adapter: { shape, values }
    }))
  })

  test.each([
    ['a share of all', { share: 1, seeds: [1, 2, 3] }],
    ['too few seeds', { share: SHARE, seeds: [1, 2] }]
  ])('is refused for %s', async (_, dropout) => {
    using engine = testEngine()
    const { span } = await engine.load({ location, ...range, quant: 'f32' })
    expect(() => engine.train({ ...stepOf(span), dropout })).toThrow('Dropout')
  })
})
