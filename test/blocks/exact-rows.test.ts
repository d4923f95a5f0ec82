// A row must come out the same to the bit however rows are cut into steps and blocks into spans: an
// answer that goes on after a replay, and a guess that was checked along, rest on it.
import { expect, test } from 'bun:test'
import type { Quant } from '../../src/blocks/types.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { smollm2Location } from '../support/models/smollm2.ts'
import { testEngine } from './support/engine-helpers.ts'
import { randomRows } from './support/random-llama.ts'

const WIDTH = 576
const ROWS = 70
/** Blocks, and where they are cut; plain C is 20 times slower. */
const [END, CUT] = loadKernels().variant === 'plain' ? [4, 2] : [12, 5]

for (const quant of ['native', 'int8', 'int4', 'f32'] as const satisfies readonly Quant[]) {
  test(`rows of ${quant} weights do not depend on how they are cut`, async () => {
    using test = testEngine()
    const location = await smollm2Location()
    const [whole, front, back] = [
      await test.load({ location, start: 0, end: END, quant }),
      await test.load({ location, start: 0, end: CUT, quant }),
      await test.load({ location, start: CUT, end: END, quant })
    ]
    const rows = randomRows(ROWS, WIDTH)
    const single = test.feed(whole.span, rows, WIDTH, 1)
    const differing = [2, 3, 8, 33, ROWS].filter(
      (size) => !Bun.deepEquals(test.feed(whole.span, rows, WIDTH, size), single)
    )
    const middle = test.feed(front.span, rows, WIDTH, 16)
    const split = test.feed(back.span, middle, WIDTH, 5)
    expect({ differing, isSplitEqual: Bun.deepEquals(split, single) }).toEqual({
      differing: [],
      isSplitEqual: true
    })
  }, 300_000)
}
