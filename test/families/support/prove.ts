// What every family must show: the answers of `transformers` on the fixtures, from the hub's folder
// and from llama.cpp's file, and those of a float64 reference on models drawn by lot; whole, in
// pieces and split, with float and with integer weights.
import { expect, test } from 'bun:test'
import type { Compute } from '../../../src/blocks/compute.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import type { Family } from '../../../src/model/types.ts'
import { tempFolder } from '../../support/temp-folder.ts'
import { readFixture } from './fixture.ts'
import { writeFixtureGguf } from './gguf.ts'
import { randomIds, randomModel, writeModel } from './random-model.ts'
import { llamaAnswer } from '../reference/llama.ts'
import { olderAnswer } from '../reference/older.ts'
import type { Row } from '../reference/ops.ts'
import { worstError } from '../../support/errors.ts'
import { argmax, joined, meanError, Runner } from './run.ts'

/** Of the largest value: float32 sums in another order, over a few blocks. */
const FLOAT_TOLERANCE = 2e-5
/** Root of the mean square over many rows. */
const MEAN_TOLERANCE = 3e-6
/** Of the worst of hundreds of rows: some amplify what differs, whoever sums (Mixtral's by ten). */
const WORST_TOLERANCE = 4e-5
/**
 * Root of the mean square, int8 weights and activations: these networks double what differs at each
 * matrix.
 */
const INT8_TOLERANCE = 0.15

/** Declares the tests of one fixture. */
export function proveFixture(compute: Compute, name: string): void {
  const fixture = readFixture(name)
  const { ids, hidden, logits, greedy, location } = fixture
  const blocks = hidden.length

  test(`${name}: each block gives what transformers gives`, async () => {
    const cuts = Array.from({ length: blocks - 1 }, (_, i) => i + 1)
    for (const cut of [0, ...cuts]) {
      await using runner = await Runner.load(compute, location, { cuts: cut === 0 ? [] : [cut] })
      expect(worstError(embedTokens(runner.model, ids), hidden[0]!)).toBeLessThan(FLOAT_TOLERANCE)
      const session = await runner.session()
      const rows = await session.feed(ids, 0)
      if (cut > 0) {
        expect(worstError(session.inputs[1]!, hidden[cut]!)).toBeLessThan(FLOAT_TOLERANCE)
      }
      expect(worstError(await runner.head(rows), logits)).toBeLessThan(FLOAT_TOLERANCE)
    }
  })

  test(`${name}: pieces of any size give the whole's rows to the bit`, async () => {
    for (const quant of ['f32', 'int8', 'int4'] as const) {
      await using runner = await Runner.load(compute, location, { quant })
      const whole = await (await runner.session()).feed(ids, 0)
      if (quant === 'f32') {
        expect(worstError(await runner.head(whole), logits)).toBeLessThan(FLOAT_TOLERANCE)
      }
      for (const size of [1, 5, 16]) {
        expect(await (await runner.session()).feedBy(size, ids)).toEqual(whole)
      }
    }
  })

  test(`${name}: greedy generation writes what transformers writes`, async () => {
    await using runner = await Runner.load(compute, location)
    const session = await runner.session()
    const { hiddenSize } = runner.model.config
    let rows = await session.feed(ids, 0)
    const written: number[] = []
    while (written.length < greedy.length) {
      const id = argmax(await runner.head(rows.slice(-hiddenSize)))
      rows = await session.feed([id], ids.length + written.length)
      written.push(id)
    }
    expect(written).toEqual([...greedy])
  })

  test(`${name}: two sessions in turns do not see each other`, async () => {
    await using runner = await Runner.load(compute, location, { cuts: [1] })
    const [a, b] = [await runner.session(), await runner.session()]
    const other = ids.toReversed()
    const parts: Float32Array[] = []
    for (const [at, id] of ids.entries()) {
      parts.push(await a.feed([id], at))
      await b.feed([other[at]!], at)
    }
    expect(worstError(await runner.head(joined(parts)), logits)).toBeLessThan(FLOAT_TOLERANCE)
  })

  test(`${name}: int8 weights come close`, async () => {
    await using runner = await Runner.load(compute, location, { quant: 'int8' })
    const rows = await (await runner.session()).feedBy(7, ids)
    expect(meanError(await runner.head(rows), logits)).toBeLessThan(INT8_TOLERANCE)
  })
}

/**
 * Declares the test that a fixture's ONNX graphs give what transformers gives, whole and in pieces.
 */
export function proveGraphs(compute: Compute, name: string): void {
  const { ids, hidden, logits, location } = readFixture(name)

  test(`${name}: ONNX graphs give what transformers gives`, async () => {
    await using runner = await Runner.load(compute, location, { cuts: [1] })
    const session = await runner.session()
    const whole = await session.feed(ids, 0)
    expect(worstError(session.inputs[1]!, hidden[1]!)).toBeLessThan(FLOAT_TOLERANCE)
    const pieces = await (await runner.session()).feedBy(5, ids)
    for (const rows of [whole, pieces]) {
      expect(worstError(await runner.head(rows), logits)).toBeLessThan(FLOAT_TOLERANCE)
    }
    await using rounded = await Runner.load(compute, location, { quant: 'int8' })
    const close = await (await rounded.session()).feedBy(7, ids)
    expect(meanError(await rounded.head(close), logits)).toBeLessThan(INT8_TOLERANCE)
  })
}

/** Declares the test that a fixture's GGUF gives what its folder gives. */
export function proveGguf(compute: Compute, name: string): void {
  const fixture = readFixture(name)
  const { ids, logits } = fixture

  test(`${name}: a GGUF as llama.cpp has it gives what transformers gives`, async () => {
    await using folder = await tempFolder()
    const path = await folder.write('model.gguf', writeFixtureGguf(fixture))
    await using runner = await Runner.load(compute, { kind: 'gguf', paths: [path] }, { cuts: [1] })
    const rows = await (await runner.session()).feedBy(10, ids)
    expect(worstError(await runner.head(rows), logits)).toBeLessThan(FLOAT_TOLERANCE)
  })
}

const OLDER: ReadonlySet<Family> = new Set(['gpt2', 'bloom', 'falcon'])

/** Declares a test for each of `seeds` models drawn by lot. */
export function proveRandom(compute: Compute, family: Family, seeds: number): void {
  for (let seed = 1; seed <= seeds; seed++) {
    test(`${family}: a random model (seed ${seed}) gives what float64 gives`, async () => {
      await using folder = await tempFolder()
      const random = seededRandom(1000 + seed)
      const model = randomModel(family, seed)
      const ids = randomIds(seed, 20 + random.below(12))
      const answer = OLDER.has(family) ? olderAnswer(model, ids) : llamaAnswer(model, ids)
      const logits = flat(answer.logits)
      const location = writeModel(model, folder.path)
      const cut = 1 + random.below(answer.hidden.length - 1)
      await using whole = await Runner.load(compute, location)
      await using split = await Runner.load(compute, location, { cuts: [cut] })

      const check = async (runner: Runner, rows: Float32Array): Promise<void> =>
        expect(worstError(await runner.head(rows), logits)).toBeLessThan(FLOAT_TOLERANCE)
      await check(whole, await (await whole.session()).feed(ids, 0))
      await check(whole, await (await whole.session()).feedBy(1, ids))
      await check(split, await (await split.session()).feedBy(2 + random.below(9), ids))
      const session = await split.session()
      await session.feed(ids, 0)
      expect(worstError(session.inputs[1]!, flat(answer.hidden[cut]!))).toBeLessThan(
        FLOAT_TOLERANCE
      )

      // Back to some position, with three sessions in turns.
      const from = random.below(ids.length)
      const sessions = [session, await split.session(), await whole.session()]
      for (const each of sessions.slice(1)) await each.feed(ids.slice(0, from + 1), 0)
      const parts: Float32Array[] = []
      for (let at = from; at < ids.length; at++) {
        const rows: Float32Array[] = []
        for (const each of sessions) rows.push(await each.feed([ids[at]!], at))
        parts.push(rows[at % sessions.length]!)
      }
      const { vocabSize } = whole.model.config
      const rest = logits.subarray(from * vocabSize)
      expect(worstError(await whole.head(joined(parts)), rest)).toBeLessThan(FLOAT_TOLERANCE)
    })
  }
}

/**
 * Declares the test of a session longer than a chunk (128 rows) and than a cache's first memory
 * (256).
 */
export function proveLong(compute: Compute, family: Family): void {
  test(`${family}: a long session gives what float64 gives`, async () => {
    await using folder = await tempFolder()
    const model = randomModel(family, 77, 330)
    const ids = randomIds(77, 300)
    const answer = OLDER.has(family) ? olderAnswer(model, ids) : llamaAnswer(model, ids)
    const logits = flat(answer.logits)
    await using runner = await Runner.load(compute, writeModel(model, folder.path))
    const session = await runner.session()
    const whole = await session.feed(ids, 0)
    const answered = await runner.head(whole)
    expect(meanError(answered, logits)).toBeLessThan(MEAN_TOLERANCE)
    expect(worstError(answered, logits)).toBeLessThan(WORST_TOLERANCE)
    const { hiddenSize } = runner.model.config
    expect(await session.feed(ids.slice(100), 100)).toEqual(whole.slice(100 * hiddenSize))
    expect(await session.feed(ids.slice(299), 299)).toEqual(whole.slice(299 * hiddenSize))
  })
}

function flat(rows: readonly Row[]): Float32Array {
  return joined(rows.map((each) => new Float32Array(each)))
}
