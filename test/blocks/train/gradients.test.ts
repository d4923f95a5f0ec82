// Gradients of whole blocks: those of differences, for the families' fixtures, with adapters and
// prompts, and the same bits under all instruction sets, threads and cuts.
import { describe, expect, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { toAppError } from '../../../src/base/errors.ts'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import type { TrainResult, TrainStep } from '../../../src/blocks/train/train-types.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelConfig } from '../../../src/model/types.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { usableVariants } from '../../../src/kernels/load.ts'
import { hashOf, Numbers } from '../../kernels/support/world.ts'
import { NEVER, testEngine, type TestEngine } from '../support/engine-helpers.ts'

const LENGTHS = [9, 1, 14]
const ROWS = 24
const PROMPT = 2

const folder = join(import.meta.dir, '..', '..', 'fixtures', 'families')
const names = readdirSync(folder).sort()

interface Case {
  readonly config: ModelConfig
  readonly step: TrainStep
}

/** A backward step over the whole model with everything that can be trained. */
async function caseOf(engine: TestEngine, name: string): Promise<Case> {
  const { location } = readFixture(name)
  const { config } = await withModel(location)
  const range = { start: 0, end: config.blockCount }
  const { span } = await engine.load({ location, ...range, quant: 'f32' })
  const numbers = new Numbers(7)
  const shape = { rank: 3, scale: 2, targets: adapterParts(config).map(({ target }) => target) }
  const count = adapterNumbers(config, shape, range)
  const width = config.hiddenSize
  const step: TrainStep = {
    span,
    range,
    lengths: LENGTHS,
    hidden: numbers.floats(ROWS * width),
    gradient: numbers.floats(ROWS * width),
    adapter: { shape, values: numbers.floats(count, 0.1) },
    prompts: numbers.floats(config.blockCount * PROMPT * width, 0.3)
  }
  return { config, step }
}

async function withModel(
  location: Parameters<typeof openModel>[0]
): Promise<{ config: ModelConfig }> {
  const model = await openModel(location)
  model.close()
  return model
}

/** Sum of outputs times their gradients, so that its slope is the step's gradient. */
function lossOf(engine: TestEngine, step: TrainStep): number {
  const { hidden } = engine.train({ ...step, gradient: undefined })
  return hidden.reduce((sum, value, i) => sum + value * step.gradient![i]!, 0)
}

/** The slope along a direction, by a central difference. */
function slopeAlong(
  engine: TestEngine,
  step: TrainStep,
  moved: (by: number) => Partial<TrainStep>
): number {
  const by = 2 ** -9
  return (
    (lossOf(engine, { ...step, ...moved(by) }) - lossOf(engine, { ...step, ...moved(-by) })) /
    (2 * by)
  )
}

const along = (values: Float32Array, direction: Float32Array, by: number): Float32Array =>
  values.map((value, i) => value + by * direction[i]!)

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0)

/** How far a slope may be from the gradient's, of the gradient's length. */
const TOLERANCE = 4e-3

describe('gradients are the slopes of differences', () => {
  for (const name of names) {
    test(name, async () => {
      using engine = testEngine()
      const { step } = await caseOf(engine, name)
      const result = engine.train(step)
      const numbers = new Numbers(11)
      const { adapter, prompts } = step
      const checks: [Float32Array, (direction: Float32Array, by: number) => Partial<TrainStep>][] =
        [
          [result.hidden, (way, by) => ({ hidden: along(step.hidden, way, by) })],
          [
            result.adapterGradient!,
            (way, by) => ({
              adapter: { shape: adapter!.shape, values: along(adapter!.values, way, by) }
            })
          ],
          [result.promptGradient!, (way, by) => ({ prompts: along(prompts!, way, by) })]
        ]
      for (const [gradient, moved] of checks) {
        const size = Math.sqrt(dot(gradient, gradient))
        expect(size).toBeGreaterThan(0.1)
        const unit = numbers.floats(gradient.length)
        const length = Math.sqrt(dot(unit, unit))
        // Of a random direction and of the gradient's own.
        for (const way of [unit.map((v) => v / length), gradient.map((v) => v / size)]) {
          const slope = slopeAlong(engine, step, (by) => moved(way, by))
          expect(Math.abs(slope - dot(gradient, way)) / size).toBeLessThan(TOLERANCE)
        }
      }
    })
  }
})

function joinedResult({ hidden, adapterGradient, promptGradient }: TrainResult): number[] {
  return [...hidden, ...(adapterGradient ?? []), ...(promptGradient ?? [])]
}

test('a step gives the same bits on one thread and five, stopped or not', async () => {
  const results: number[][] = []
  for (const threads of [1, 5]) {
    using engine = testEngine({ threads })
    const { step } = await caseOf(engine, 'gemma3')
    results.push(joinedResult(engine.train(step)))
    const again = { ...step }
    let stops = 0
    const word = new Int32Array(1)
    const stopped = engine.trainSlices(again, () => {
      // Every other slice is stopped before its first operation.
      word[0] = stops++ % 2
      return { word }
    })
    results.push(joinedResult(stopped))
  }
  for (const one of results) expect(one).toEqual(results[0]!)
})

/** Hashes of a step's gradients: a change of one is a change of ARITHMETIC. */
const PINNED: Readonly<Record<string, string>> = {
  gemma2: '2127babbebde5623',
  gemma3: 'd2e0083c6a3c7280',
  bloom: '2a5dfb324ea82e3b',
  'falcon-7b': '4a96536598f2e83',
  llama3: 'b9b9591795adf1b0',
  mixtral: 'b114c04d2a67c79c',
  qwen3moe: '3f747f2cbc100f59'
}

test.each(Object.keys(PINNED))(
  'gradients of %s are the pinned ones under every instruction set',
  async (name) => {
    const hashes: Record<string, string> = {}
    for (const variant of usableVariants()) {
      using engine = testEngine({ variant })
      const { step } = await caseOf(engine, name)
      hashes[variant] = hashOf(Float32Array.from(joinedResult(engine.train(step))))
    }
    expect(hashes).toEqual(Object.fromEntries(usableVariants().map((one) => [one, PINNED[name]!])))
  }
)

test('spans behind each other give the bits of one', async () => {
  using engine = testEngine()
  const { config, step } = await caseOf(engine, 'llama3')
  const { adapter, prompts } = step
  const whole = engine.train(step)
  const middle = 1
  const each = (values: Float32Array, start: number, end: number): Float32Array => {
    const one = values.length / config.blockCount
    return values.slice(start * one, end * one)
  }
  const part = (start: number, end: number): TrainStep => ({
    ...step,
    range: { start, end },
    adapter: { shape: adapter!.shape, values: each(adapter!.values, start, end) },
    prompts: each(prompts!, start, end)
  })
  const first = { ...part(0, middle), gradient: undefined }
  const between = engine.train(first).hidden
  const back = engine.train({ ...part(middle, config.blockCount), hidden: between })
  const front = engine.train({ ...part(0, middle), gradient: back.hidden })
  expect(front.hidden).toEqual(whole.hidden)
  expect([...front.adapterGradient!, ...back.adapterGradient!]).toEqual([...whole.adapterGradient!])
  expect([...front.promptGradient!, ...back.promptGradient!]).toEqual([...whole.promptGradient!])
})

test.each(['gemma2', 'llama', 'bloom'])('losses and slopes at the end of %s', async (name) => {
  using engine = testEngine()
  const { location } = readFixture(name)
  const { config } = await withModel(location)
  const head = await engine.engine.loadHead(location, 'f32')
  const numbers = new Numbers(5)
  const rows = 70
  const hidden = numbers.floats(rows * config.hiddenSize)
  const targets = Int32Array.from({ length: rows }, (_, row) =>
    row % 5 === 0 ? -1 : (row * 7) % config.vocabSize
  )
  const weight = 0.25
  const lossOf = (values: Float32Array): number => {
    const logits = engine.engine.head(head, values.slice(), NEVER)
    let sum = 0
    for (const [row, target] of targets.entries()) {
      if (target < 0) continue
      const own = logits.subarray(row * config.vocabSize, (row + 1) * config.vocabSize)
      const total = own.reduce((all, one) => all + Math.exp(one), 0)
      sum += weight * (Math.log(total) - own[target]!)
    }
    return sum
  }
  const result = engine.engine.headLoss({ head, hidden: hidden.slice(), targets, weight })
  const total = weight * result.losses.reduce((sum, loss) => sum + loss, 0)
  expect(Math.abs(total - lossOf(hidden)) / total).toBeLessThan(1e-5)
  const way = result.hidden
  const size = Math.sqrt(dot(way, way))
  const unit = way.map((value) => value / size)
  const slope = (lossOf(along(hidden, unit, 0.01)) - lossOf(along(hidden, unit, -0.01))) / 0.02
  expect(Math.abs(slope - size) / size).toBeLessThan(TOLERANCE)
  expect(result.losses.filter((loss) => loss === 0).length).toBe(14)
})

test('steps give the same bits where rows are kept between their ways, and where memory is short', async () => {
  using rich = testEngine()
  const { step } = await caseOf(rich, 'gemma3')
  rich.train({ ...step, gradient: undefined })
  const expected = joinedResult(rich.train(step))
  // The first size that is enough for a step leaves no room to keep anything.
  for (let memoryBytes = 2 ** 18; ; memoryBytes = Math.ceil(memoryBytes * 1.02)) {
    using poor = testEngine({ memoryBytes })
    const result = await trained(poor, step).catch(requireNoMemory)
    if (result === undefined) continue
    expect(joinedResult(result)).toEqual(expected)
    return
  }
})

async function trained(
  engine: TestEngine,
  { hidden, gradient, ...step }: TrainStep
): Promise<TrainResult> {
  const { location } = readFixture('gemma3')
  const { span } = await engine.load({ location, ...step.range, quant: 'f32' })
  engine.train({ ...step, span, hidden })
  return engine.train({ ...step, span, hidden, gradient })
}

function requireNoMemory(error: unknown): undefined {
  if (toAppError(error).code !== 'NO_MEMORY') throw error
}
