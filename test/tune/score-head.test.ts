// The gradients of the head for classes beside finite differences.
import { describe, expect, test } from 'bun:test'
import { openModel } from '../../src/model/open-model.ts'
import { newScore, ScoreHead } from '../../src/tune/classify/score-head.ts'
import { readFixture } from '../families/support/fixture.ts'
import { Numbers } from '../kernels/support/world.ts'

const CLASSES = 3
const ROWS = 4
const STEP = 1e-3
/** Of float32 rows and a step of that size. */
const TOLERANCE = 2e-3

describe('gradients of the head for classes', () => {
  test.each(['llama3', 'gemma2', 'gpt2'])('of %s are those of finite differences', async (name) => {
    const model = await openModel(readFixture(name).location)
    const head = new ScoreHead(model)
    const width = model.config.hiddenSize
    model.close()
    const numbers = new Numbers(3)
    const rows = numbers.floats(ROWS * width)
    const score = newScore(model.config, CLASSES, 1)
    const targets = Int32Array.of(0, 2, 1, 2)
    const total = (): number =>
      head.loss(rows, targets, { score, weight: 0 }).losses.reduce((sum, one) => sum + one, 0)
    const made = head.loss(rows, targets, { score, weight: 1 })
    for (const [list, gradient] of [
      [rows, made.hidden],
      [score, made.score]
    ] as const) {
      for (let i = 0; i < list.length; i += 7) {
        const before = list[i]!
        list[i] = before + STEP
        const [above, high] = [total(), list[i]!]
        list[i] = before - STEP
        const [below, low] = [total(), list[i]!]
        list[i] = before
        expect(Math.abs((above - below) / (high - low) - gradient[i]!)).toBeLessThan(TOLERANCE)
      }
    }
  })
})
