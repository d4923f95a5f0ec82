// Gradients through the families' tiny models beside those of torch, as
// scripts/prove/make-gradient-fixtures.py had them: of the rows, of an adapter and of prompts.
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { Numbers, worst } from '../../kernels/support/world.ts'
import { testEngine } from '../support/engine-helpers.ts'

const LENGTHS = [9, 1, 14]
const ROWS = 24
const PROMPT = 2
/** Of the largest value: float32 beside float64, and tables of positions that torch rounds. */
const TOLERANCE = 5e-5

interface Answer {
  readonly targets: readonly string[]
  readonly output: string
  readonly hidden: string
  readonly adapter: string
  readonly prompts: string
}

const path = join(import.meta.dir, '..', '..', 'fixtures', 'gradients.json')
const answers = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Answer>

const floats = (base64: string): Float32Array =>
  new Float32Array(Uint8Array.fromBase64(base64).buffer)

describe("gradients are torch's", () => {
  for (const [name, answer] of Object.entries(answers)) {
    test(name, async () => {
      using engine = testEngine()
      const { location } = readFixture(name)
      const model = await openModel(location)
      model.close()
      const { config } = model
      const range = { start: 0, end: config.blockCount }
      const { span } = await engine.load({ location, ...range, quant: 'f32' })
      const known = adapterParts(config).map(({ target }) => target)
      const shape = { rank: 1, scale: 2, targets: known.filter((one) => isIn(answer, one)) }
      expect(shape.targets.length).toBe(answer.targets.length)
      const numbers = new Numbers(7)
      const width = config.hiddenSize
      const step = {
        span,
        range,
        lengths: LENGTHS,
        hidden: numbers.floats(ROWS * width),
        gradient: numbers.floats(ROWS * width),
        adapter: { shape, values: numbers.floats(adapterNumbers(config, shape, range), 0.1) },
        prompts: numbers.floats(config.blockCount * PROMPT * width, 0.3)
      }
      const forward = engine.train({ ...step, gradient: undefined })
      const back = engine.train(step)
      expect(worst(forward.hidden, floats(answer.output))).toBeLessThan(TOLERANCE)
      expect(worst(back.hidden, floats(answer.hidden))).toBeLessThan(TOLERANCE)
      expect(worst(back.adapterGradient ?? [], floats(answer.adapter))).toBeLessThan(TOLERANCE)
      expect(worst(back.promptGradient ?? [], floats(answer.prompts))).toBeLessThan(TOLERANCE)
    })
  }
})

function isIn({ targets }: Answer, target: string): boolean {
  return targets.includes(target)
}
