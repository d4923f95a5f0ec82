// Training by ONNX graphs, on onnxruntime's CPU provider, beside our own kernels: rows, gradients
// of rows, of an adapter and of prompts, for all families but those with experts.
import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import type { TrainStep } from '../../../src/blocks/train/train-types.ts'
import type { SpanOptions } from '../../../src/blocks/types.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelConfig } from '../../../src/model/types.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { Numbers, worst } from '../../kernels/support/world.ts'
import { smollm2Location } from '../../support/models/smollm2.ts'
import { testEngine, type TestEngine } from '../support/engine-helpers.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

/** Of the largest value: both are float32, with other orders of sums. */
const TOLERANCE = 5e-5
const LENGTHS = [9, 1, 14]
const ROWS = 24
const PROMPT = 2

const folder = join(import.meta.dir, '..', '..', 'fixtures', 'families')
const EXPERTS = ['mixtral', 'qwen3moe']
const names = readdirSync(folder).sort()

async function configOf(location: SpanOptions['location']): Promise<ModelConfig> {
  const model = await openModel(location)
  model.close()
  return model.config
}

function stepOf(config: ModelConfig, blocks: number): Omit<TrainStep, 'span'> {
  const range = { start: 0, end: blocks }
  const numbers = new Numbers(7)
  const shape = { rank: 3, scale: 2, targets: adapterParts(config).map(({ target }) => target) }
  const width = config.hiddenSize
  return {
    range,
    lengths: LENGTHS,
    hidden: numbers.floats(ROWS * width),
    gradient: numbers.floats(ROWS * width),
    adapter: { shape, values: numbers.floats(adapterNumbers(config, shape, range), 0.1) },
    prompts: numbers.floats(blocks * PROMPT * width, 0.3)
  }
}

async function expectSame(options: SpanOptions, step: Omit<TrainStep, 'span'>): Promise<void> {
  const answers = await Promise.all(
    [false, true].map(async (onnx) => {
      using engine = testEngine({ onnx })
      const { span, trains } = await engine.load(options)
      expect(trains).toBe(true)
      const forward = engine.train({ ...step, span, gradient: undefined })
      return { forward, back: engine.train({ ...step, span }) }
    })
  )
  const [kernels, graphs] = answers
  if (kernels === undefined || graphs === undefined) throw new Error('Two engines answer')
  expect(worst(graphs.forward.hidden, kernels.forward.hidden)).toBeLessThan(TOLERANCE)
  expect(worst(graphs.back.hidden, kernels.back.hidden)).toBeLessThan(TOLERANCE)
  for (const name of ['adapterGradient', 'promptGradient'] as const) {
    const [own, other] = [graphs.back[name], kernels.back[name]]
    expect(own?.length).toBe(other?.length ?? -1)
    expect(own === undefined && step.prompts !== undefined).toBe(false)
    if (own && other) expect(worst(own, other)).toBeLessThan(TOLERANCE)
  }
}

describe('graphs of training give what the kernels give', () => {
  for (const name of names.filter((one) => !EXPERTS.some((prefix) => one.startsWith(prefix)))) {
    test(name, async () => {
      const { location } = readFixture(name)
      const config = await configOf(location)
      const options = { location, start: 0, end: config.blockCount, quant: 'f32' } as const
      await expectSame(options, stepOf(config, config.blockCount))
    })
  }

  test("SmolLM2's blocks in the file's own bits", async () => {
    const location = await smollm2Location()
    const config = await configOf(location)
    await expectSame({ location, start: 0, end: 2, quant: 'native' }, stepOf(config, 2))
  })
})

test.each(EXPERTS)('%s says that its graphs cannot be trained through', async (name) => {
  using engine: TestEngine = testEngine({ onnx: true })
  const { location } = readFixture(name)
  const config = await configOf(location)
  const range = { start: 0, end: config.blockCount }
  const { span, trains } = await engine.load({ location, ...range, quant: 'f32' })
  expect(trains).toBeUndefined()
  const hidden = new Float32Array(config.hiddenSize)
  expect(() => engine.train({ span, range, lengths: [1], hidden })).toThrow(
    'cannot be trained through'
  )
})
