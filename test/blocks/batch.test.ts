// Steps of several sessions in one run: each row must come out to the bit as when its session ran alone, and
// what goes wrong with one session is its own.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { seededRandom } from '../../src/base/random.ts'
import { layoutOf, takeSeats } from '../../src/blocks/engine/batch-layout.ts'
import type { StepOutcome } from '../../src/blocks/engine/step-job.ts'
import { graphBytes } from '../../src/blocks/sizes.ts'
import type { Quant } from '../../src/blocks/types.ts'
import type { Family } from '../../src/model/types.ts'
import { randomModel, writeModel } from '../families/support/random-model.ts'
import { smollm2Location } from '../support/models/smollm2.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { testEngine, type TestEngine } from './support/engine-helpers.ts'
import { randomRows } from './support/random-llama.ts'

setDefaultTimeout(120_000)

const STORIES = { location: storiesLocation, start: 0, end: 5, quant: 'f32', width: 64 } as const

/** A piece of each session's rows: what is run together. */
interface Piece {
  session: number
  start: number
  hidden: Float32Array
}

function runPieces({ engine }: TestEngine, pieces: readonly Piece[], width: number): StepOutcome[] {
  const shares = pieces.map(({ session, start, hidden }) => {
    const count = hidden.length / width
    return { job: engine.step({ session, start, count, hidden }, null), rows: count }
  })
  return engine.together(shares)
}

/**
 * Feeds each session its rows in pieces of one, three or many, all sessions that have some left in one run.
 * Sessions come and go at different times, as their numbers of rows differ.
 */
function feedTogether(
  test: TestEngine,
  span: number,
  inputs: readonly Float32Array[],
  width: number
): Float32Array[] {
  const before = test.engine.batchedRuns
  const random = seededRandom(inputs.length)
  const outputs = inputs.map((input) => new Float32Array(input.length))
  const done = inputs.map(() => 0)
  const sessions = inputs.map(() => test.engine.openSession(span))
  for (;;) {
    const going = [...inputs.keys()].filter((i) => done[i]! < inputs[i]!.length)
    if (going.length === 0) break
    const pieces = going.map((i) => {
      const rows = [1, 1, 3, 9][random.below(4)]!
      const hidden = inputs[i]!.slice(done[i]!, done[i]! + rows * width)
      return { session: sessions[i]!, start: done[i]! / width, hidden }
    })
    for (const [index, outcome] of runPieces(test, pieces, width).entries()) {
      const i = going[index]!
      if (outcome?.answer === undefined) throw outcome?.error ?? new Error('No answer')
      outputs[i]!.set(outcome.answer.hidden, done[i]!)
      done[i]! += outcome.answer.hidden.length
    }
  }
  for (const session of sessions) test.engine.closeSession(session)
  expect(test.engine.batchedRuns - before).toBeGreaterThan(2)
  return outputs
}

/** Which of `counts` sessions at once give other bits than each alone. */
function differing(
  test: TestEngine,
  span: number,
  width: number,
  counts: readonly number[]
): number[] {
  const inputs = Array.from({ length: Math.max(...counts) }, (_, i) =>
    randomRows(20 + 3 * i, width, 100 + i)
  )
  const alone = inputs.map((input) => test.feed(span, input, width, 1))
  return counts.filter(
    (count) =>
      !Bun.deepEquals(
        feedTogether(test, span, inputs.slice(0, count), width),
        alone.slice(0, count)
      )
  )
}

for (const quant of ['native', 'int8', 'int4', 'f32'] as const satisfies readonly Quant[]) {
  test(`rows of ${quant} weights do not depend on who else is in a run`, async () => {
    using test = testEngine()
    const location = await smollm2Location()
    const { span } = await test.load({ location, start: 3, end: 6, quant })
    expect(differing(test, span, 576, [2, 3, 5, 16])).toEqual([])
  })
}

const FAMILIES = [
  'bloom',
  'falcon',
  'gemma2',
  'gemma3',
  'gpt2',
  'llama',
  'mixtral',
  'qwen3'
] as const satisfies readonly Family[]

for (const family of FAMILIES) {
  test(`rows of ${family} do not depend on who else is in a run`, async () => {
    await using folder = await tempFolder()
    const results: number[][] = []
    // Shapes drawn by lot: heads that attention turns by itself and heads that it does not.
    for (const seed of [1, 4]) {
      using test = testEngine()
      const model = randomModel(family, seed, 96)
      const location = writeModel(model, folder.path)
      const blocks = { start: 0, end: 2 }
      const { span, hiddenSize } = await test.load({ location, ...blocks, quant: 'f32' })
      results.push(differing(test, span, hiddenSize, [2, 5]))
    }
    expect(results).toEqual([[], []])
  })
}

test('a session grows, ends and is closed between runs with others', async () => {
  using test = testEngine()
  const { engine } = test
  const { width, ...span } = STORIES
  const { span: loaded } = await test.load(span)
  const inputs = [0, 1, 2].map((i) => randomRows(300, width, i))
  const alone = inputs.map((input) => test.feed(loaded, input, width, 100))
  const [a, b, c] = inputs.map(() => engine.openSession(loaded))
  const part = (i: number, from: number, to: number): Float32Array =>
    inputs[i]!.slice(from * width, to * width)
  const bits = (outcomes: readonly StepOutcome[]): (Float32Array | undefined)[] =>
    outcomes.map((outcome) => outcome?.answer?.hidden)
  const expected = (i: number, from: number, to: number): Float32Array =>
    alone[i]!.slice(from * width, to * width)
  const first = [
    { session: a!, start: 0, hidden: part(0, 0, 200) },
    { session: b!, start: 0, hidden: part(1, 0, 10) }
  ]
  expect(bits(runPieces(test, first, width))).toEqual([expected(0, 0, 200), expected(1, 0, 10)])
  // a outgrows its first memory while it sits, c takes the place of b, which is closed.
  engine.closeSession(b!)
  const second = [
    { session: c!, start: 0, hidden: part(2, 0, 5) },
    { session: a!, start: 200, hidden: part(0, 200, 300) }
  ]
  expect(bits(runPieces(test, second, width))).toEqual([expected(2, 0, 5), expected(0, 200, 300)])
  engine.closeSession(a!)
  expect(test.step(c!, 5, part(2, 5, 9), width)).toEqual(expected(2, 5, 9))
})

test('what is wrong with one session of a run is told to it alone', async () => {
  using test = testEngine()
  const { engine } = test
  const { width, ...span } = STORIES
  const { span: loaded } = await test.load(span)
  const input = randomRows(6, width)
  const alone = test.feed(loaded, input, width, 1)
  const [good, broken, late] = [0, 1, 2].map(() => engine.openSession(loaded))
  const rows = (from: number, to: number): Float32Array => input.slice(from * width, to * width)
  const nothing = new Float32Array(2 * width).fill(Number.NaN)
  const outcomes = runPieces(
    test,
    [
      { session: good!, start: 0, hidden: rows(0, 3) },
      { session: broken!, start: 0, hidden: nothing },
      { session: late!, start: 7, hidden: rows(0, 1) }
    ],
    width
  )
  expect(outcomes.map((outcome) => outcome?.error?.code ?? outcome?.answer?.hidden)).toEqual([
    alone.slice(0, 3 * width),
    'COMPUTE',
    'BAD_INPUT'
  ])
  const after = runPieces(
    test,
    [
      { session: good!, start: 3, hidden: rows(3, 6) },
      { session: broken!, start: 0, hidden: rows(0, 6) }
    ],
    width
  )
  expect(after.map((outcome) => outcome?.answer?.hidden)).toEqual([alone.slice(3 * width), alone])
})

test('memory that one session of a run lacks is refused to it alone', async () => {
  const { width, ...span } = STORIES
  // Weights, room for a graph for two, and two caches of 256 tokens.
  using test = testEngine({ memoryBytes: 925_216 + 2 * graphBytes(5, 2) + 2 * 256 * 1280 })
  const { engine } = test
  const { span: loaded } = await test.load(span)
  const input = randomRows(300, width)
  const [small, large] = [engine.openSession(loaded), engine.openSession(loaded)]
  const piece = (session: number, start: number, rows: number): Piece => {
    return { session, start, hidden: input.slice(0, rows * width) }
  }
  const codes = (pieces: readonly Piece[]): (string | undefined)[] =>
    runPieces(test, pieces, width).map((outcome) => outcome?.error?.code)
  expect(codes([piece(small, 0, 1), piece(large, 0, 1)])).toEqual([undefined, undefined])
  // Others take what is left.
  while (codes([piece(engine.openSession(loaded), 0, 1)])[0] === undefined);
  expect([
    codes([piece(small, 1, 1), piece(large, 1, 299)]),
    codes([piece(small, 2, 1), piece(large, 1, 1)])
  ]).toEqual([
    [undefined, 'NO_MEMORY'],
    [undefined, undefined]
  ])
  // The second run had one session left, which ran by itself.
  expect(engine.batchedRuns).toBe(2)
})

test('layoutOf() gives each slot its rows with the last once more, and an empty one a copy', () => {
  const { count, first, rows, sizes, kept } = layoutOf([2, 0, 1])
  expect({ count, first, rows: [...rows], sizes: [...sizes], kept: [...kept] }).toEqual({
    count: 3,
    first: [0, 2, 2],
    rows: [0n, 1n, 1n, 0n, 2n, 2n],
    sizes: [3n, 1n, 2n],
    kept: [0n, 1n, 4n]
  })
})

test('takeSeats() leaves who sits where they are, and takes empty places first', () => {
  const seats = ['a', undefined, 'b', 'c']
  expect([
    takeSeats(seats, ['c', 'a']),
    takeSeats(seats, ['d', 'a']),
    takeSeats(seats, ['d', 'e', 'c'])
  ]).toEqual([
    [3, 0],
    [1, 0],
    [1, 0, 3]
  ])
})
