// Memory of training: reserved before it is taken, bounded, and given to sessions when they need
// it.
import { expect, test } from 'bun:test'
import { adapterNumbers, adapterParts, MOST_RANK } from '../../../src/blocks/train/adapter-shape.ts'
import type { TrainStep } from '../../../src/blocks/train/train-types.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { Numbers } from '../../kernels/support/world.ts'
import { testEngine, type TestEngine } from '../support/engine-helpers.ts'

const { config } = await openModel(storiesLocation)
const RANGE = { start: 0, end: config.blockCount }
const WIDTH = config.hiddenSize

async function load(engine: TestEngine): Promise<number> {
  return (await engine.load({ location: storiesLocation, ...RANGE, quant: 'f32' })).span
}

function stepOf(span: number, rows: number, rank: number): TrainStep {
  const numbers = new Numbers(3)
  const shape = { rank, scale: 1, targets: adapterParts(config).map(({ target }) => target) }
  return {
    span,
    range: RANGE,
    lengths: [rows],
    hidden: numbers.floats(rows * WIDTH),
    gradient: numbers.floats(rows * WIDTH),
    adapter: { shape, values: numbers.floats(adapterNumbers(config, shape, RANGE), 0.1) }
  }
}

/** How many sessions of the model's whole context find room. */
function sessionsThatFit(engine: TestEngine, span: number): number {
  const hidden = new Float32Array(WIDTH)
  for (let count = 0; ; count++) {
    const session = engine.engine.openSession(span)
    const piece = { session, start: 0, end: config.contextLength, hidden }
    const [outcome] = engine.engine.run([piece], { word: new Int32Array(1) })
    if (!(outcome instanceof Float32Array)) return count
  }
}

async function limited(spareBytes: number): Promise<{ engine: TestEngine; span: number }> {
  using roomy = testEngine()
  await load(roomy)
  const memoryBytes = roomy.engine.stats().weightBytes + spareBytes
  const engine = testEngine({ memoryBytes })
  return { engine, span: await load(engine) }
}

test('what a training holds is given to sessions that need it', async () => {
  const spare = 8 * 2 ** 20
  const { engine: untouched, span: other } = await limited(spare)
  using _untouched = untouched
  const expected = sessionsThatFit(untouched, other)
  expect(expected).toBeGreaterThan(2)
  const { engine, span } = await limited(spare)
  using _engine = engine
  const free = engine.engine.stats().freeBytes
  const first = engine.train(stepOf(span, 40, 8))
  expect(engine.engine.stats().freeBytes).toBeLessThan(free - 2 ** 20)
  expect(sessionsThatFit(engine, span)).toBe(expected)
  // And takes it again where there is some.
  using roomy = testEngine()
  expect(roomy.train(stepOf(await load(roomy), 40, 8)).hidden).toEqual(first.hidden)
})

test('a step that sessions took the memory of begins again', async () => {
  const { engine, span } = await limited(8 * 2 ** 20)
  using _engine = engine
  const step = stepOf(span, 40, 8)
  const expected = engine.train(step)
  let slices = 0
  const session = engine.engine.openSession(span)
  const piece = { session, start: 0, end: config.contextLength, hidden: new Float32Array(WIDTH) }
  const free = engine.engine.stats().freeBytes
  const again = engine.trainSlices(step, () => {
    // All others are stopped at once: between them a session comes.
    if (++slices === 3) engine.engine.run([piece], { word: new Int32Array(1) })
    return { word: Int32Array.of(slices < 6 ? 1 : 0) }
  })
  expect(slices).toBe(6)
  expect(again).toEqual(expected)
  expect(engine.engine.stats().freeBytes).toBeLessThan(free)
})

test.each([
  ['a huge rank', 4, MOST_RANK],
  ['many rows', config.contextLength, 8]
])('%s takes nothing where there is no room', async (_, rows, rank) => {
  const { engine, span } = await limited(2 ** 20)
  using _engine = engine
  const free = engine.engine.stats().freeBytes
  expect(() => engine.train(stepOf(span, rows, rank))).toThrow('cannot be held')
  // What was prepared for it is kept for the next step, unless a session needs it.
  expect(sessionsThatFit(engine, span)).toBeGreaterThan(0)
  expect(free).toBeLessThanOrEqual(2 ** 20)
})
