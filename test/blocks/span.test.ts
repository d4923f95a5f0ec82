// Spans against plain double arithmetic, and against themselves cut in other ways.
import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import { toAppError } from '../../src/base/errors.ts'
import { openModel } from '../../src/model/open-model.ts'
import { TYPE_FACTS } from '../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../src/model/types.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { worstError } from '../support/errors.ts'
import { NEVER, testEngine } from './support/engine-helpers.ts'
import { randomRows, writeRandomLlama, type RandomLlama } from './support/random-llama.ts'
import { referenceBlocks, referenceHead } from './support/reference.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const ROWS = 40

interface Case extends Partial<RandomLlama> {
  name: string
  quant: Quant
  /** Largest error over the largest value. */
  tolerance: number
}

/** Float activations differ from double arithmetic in the last bits only. */
const FLOAT = 3e-6
/** Activations rounded to int8 by blocks: random weights have no outliers to hide it. */
const INT8 = 6e-2

const shape = { hidden: 96, blocks: 3, heads: 6, kvHeads: 2, headDim: 32, ffn: 192 }
const cases: Case[] = [
  {
    name: 'F32, head size 8, whose positions are turned apart',
    quant: 'f32',
    tolerance: FLOAT,
    headDim: 8
  },
  { name: 'F32, head size 16', quant: 'f32', tolerance: FLOAT, headDim: 16 },
  { name: 'F32, head size 64', quant: 'f32', tolerance: FLOAT, headDim: 64 },
  { name: 'F32, head size 80', quant: 'f32', tolerance: FLOAT, headDim: 80 },
  { name: 'F32, one head of keys for all', quant: 'f32', tolerance: FLOAT, kvHeads: 1 },
  { name: 'F32, as many heads of keys as of queries', quant: 'f32', tolerance: FLOAT, kvHeads: 6 },
  { name: 'F16 weights', quant: 'native', tolerance: FLOAT, type: 'F16' },
  { name: 'Q4_1 weights as floats', quant: 'f32', tolerance: FLOAT, type: 'Q4_1' },
  { name: 'F32 rounded to float16', quant: 'f16', tolerance: 2e-3 },
  { name: 'Q4_0 as it is', quant: 'native', tolerance: INT8, type: 'Q4_0' },
  { name: 'Q4_1 as it is', quant: 'native', tolerance: INT8, type: 'Q4_1' },
  { name: 'Q8_0 as it is', quant: 'native', tolerance: INT8, type: 'Q8_0' },
  { name: 'F32 rounded to int8', quant: 'int8', tolerance: INT8 },
  { name: 'Q4_0 in int4', quant: 'int4', tolerance: INT8, type: 'Q4_0' },
  {
    name: 'types mixed in one matrix',
    quant: 'native',
    tolerance: INT8,
    type: (name): TensorType => (name === 'attn_v' ? 'Q8_0' : name === 'ffn_up' ? 'F32' : 'Q4_1')
  }
]

describe('a span', () => {
  for (const { name, quant, tolerance, ...changes } of cases) {
    test(`gives what the definition gives: ${name}`, async () => {
      await using folder = await tempFolder()
      const location = await writeRandomLlama(folder, { ...shape, ...changes })
      using model = closing(await openModel(location))
      using test = testEngine()
      const { hiddenSize, blockCount } = model.config
      const { span } = await test.load({ location, start: 0, end: blockCount, quant, kv: 'f32' })
      const rows = randomRows(ROWS, hiddenSize)
      const whole = test.feed(span, rows, hiddenSize, ROWS)
      const reference = referenceBlocks(model, 0, blockCount, rows)
      expect(worstError(whole, reference)).toBeLessThan(tolerance)
      // To the bit, however the rows are cut: replay and speculation rest on it.
      for (const size of [1, 7]) expect(test.feed(span, rows, hiddenSize, size)).toEqual(whole)
    })
  }

  test('holds every type of the file exactly: with float activations only the last bits differ', async () => {
    await using folder = await tempFolder()
    using test = testEngine({ exact: true })
    const wide = { ...shape, hidden: 256, ffn: 512, headDim: 64, heads: 4 }
    for (const [seed, type] of (Object.keys(TYPE_FACTS) as TensorType[]).entries()) {
      const location = await writeRandomLlama(folder, { ...wide, type, seed })
      using model = closing(await openModel(location))
      const rows = randomRows(12, 256)
      const { span } = await test.load({ location, start: 0, end: 3, quant: 'native', kv: 'f32' })
      const error = worstError(test.feed(span, rows, 256, 12), referenceBlocks(model, 0, 3, rows))
      // Blocks with a minimum are two products that partly cancel: a few bits more.
      expect({ type, good: error < 2e-5, error }).toMatchObject({ type, good: true })
    }
  })

  test('gives the same bits as spans behind one another, and as parts of itself', async () => {
    await using folder = await tempFolder()
    using test = testEngine()
    for (const [quant, type] of [
      ['f32', 'F32'],
      ['native', 'Q4_1']
    ] as const) {
      const location = await writeRandomLlama(folder, { ...shape, blocks: 5, type, seed: 3 })
      const rows = randomRows(ROWS, shape.hidden)
      const { span } = await test.load({ location, start: 0, end: 5, quant })
      const whole = test.feed(span, rows, shape.hidden, ROWS)
      let split = rows
      let parts = rows
      for (const [start, end] of [
        [0, 1],
        [1, 4],
        [4, 5]
      ] as const) {
        const info = await test.load({ location, start, end, quant })
        split = test.feed(info.span, split, shape.hidden, ROWS)
        const session = test.engine.openSession(span, { start, end })
        parts = test.step(session, 0, parts.slice(), shape.hidden)
      }
      expect({ quant, split, parts }).toEqual({ quant, split: whole, parts: whole })
    }
  })

  test('fits weights in plain memory as it fits mapped ones', async () => {
    await using folder = await tempFolder()
    const location = await writeRandomLlama(folder, { ...shape, type: 'Q4_1' })
    const rows = randomRows(9, shape.hidden)
    const results: Float32Array[] = []
    for (const mapped of [true, false]) {
      using test = testEngine({ mapped })
      const { span } = await test.load({ location, start: 0, end: 3, quant: 'native' })
      results.push(test.feed(span, rows, shape.hidden, 9))
    }
    expect(results[1]).toEqual(results[0])
  })
})

describe('the head', () => {
  test('gives what the definition gives, also of rows by the chunk', async () => {
    await using folder = await tempFolder()
    const location = await writeRandomLlama(folder, { ...shape, headType: 'Q8_0', vocab: 96 })
    using model = closing(await openModel(location))
    using test = testEngine()
    const rows = randomRows(300, shape.hidden)
    const reference = referenceHead(model, rows)
    for (const [quant, tolerance] of [
      ['f32', FLOAT],
      ['native', 3e-2]
    ] as const) {
      const head = await test.engine.loadHead(location, quant)
      const logits = test.engine.head(head, rows, NEVER)
      const error = worstError(logits, reference)
      expect({ quant, good: error < tolerance, error }).toMatchObject({ quant, good: true })
    }
  })

  test('refuses rows that are none, and rows that are no numbers', async () => {
    await using folder = await tempFolder()
    const location = await writeRandomLlama(folder, { ...shape, vocab: 96 })
    using test = testEngine()
    const head = await test.engine.loadHead(location, 'f32')
    const codes = [0, shape.hidden + 1, 2000 * shape.hidden].map((length) =>
      codeOf(() => test.engine.head(head, new Float32Array(length), NEVER))
    )
    const broken = new Float32Array(shape.hidden).fill(Number.NaN)
    codes.push(codeOf(() => test.engine.head(head, broken, NEVER)))
    expect(codes).toEqual(['BAD_INPUT', 'BAD_INPUT', 'LIMIT', 'COMPUTE'])
  })
})

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return toAppError(error).code
  }
  return 'none'
}

function closing<T extends { close(): void }>(thing: T): T & Disposable {
  return Object.assign(thing, { [Symbol.dispose]: () => thing.close() })
}
