// Forwards a training step computes what a session's step computes, apart from the order of sums.
import { expect, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openModel } from '../../../src/model/open-model.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { Numbers, worst } from '../../kernels/support/world.ts'
import { testEngine } from '../support/engine-helpers.ts'

const ROWS = 40
const names = readdirSync(join(import.meta.dir, '..', '..', 'fixtures', 'families')).sort()

test.each(names)('%s', async (name) => {
  using engine = testEngine()
  const { location } = readFixture(name)
  const model = await openModel(location)
  model.close()
  const { blockCount, hiddenSize } = model.config
  const range = { start: 0, end: blockCount }
  const { span } = await engine.load({ location, ...range, quant: 'f32' })
  const hidden = new Numbers(3).floats(ROWS * hiddenSize)
  const trained = engine.train({ span, range, lengths: [ROWS], hidden: hidden.slice() })
  expect(worst(trained.hidden, engine.feed(span, hidden, hiddenSize, ROWS))).toBeLessThan(1e-5)
})
