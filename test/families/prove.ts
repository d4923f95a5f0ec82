// What every family must show: the answers of `transformers` on the fixtures, whole, in pieces and split,
// with float and with integer weights.
import { expect, test } from 'bun:test'
import type { Compute } from '../../src/blocks/compute.ts'
import { embedTokens } from '../../src/model/embed.ts'
import { readFixture } from './fixture.ts'
import { argmax, joined, meanError, Runner, worstError } from './run.ts'

/** Of the largest value: float32 sums in another order, over a few blocks. */
const FLOAT_TOLERANCE = 2e-5
/** Root of the mean square, int8 weights and activations: these networks double what differs at each matrix. */
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

  test(`${name}: pieces of any size give what the whole gives`, async () => {
    await using runner = await Runner.load(compute, location)
    for (const size of [1, 5, 16]) {
      const rows = await (await runner.session()).feedBy(size, ids)
      expect(worstError(await runner.head(rows), logits)).toBeLessThan(FLOAT_TOLERANCE)
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
