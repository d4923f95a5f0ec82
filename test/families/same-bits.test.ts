// Every family's fixture and SmolLM2 to the bit: pinned hashes of hidden rows and logits, the same
// under every instruction set that this CPU has, any number of threads, however rows are cut into
// steps, blocks into spans, and whoever runs beside them.
import { expect, test } from 'bun:test'
import { ARITHMETIC } from '../../src/kernels/arithmetic.ts'
import { usableVariants } from '../../src/kernels/load.ts'
import { testEngine } from '../blocks/support/engine-helpers.ts'
import pinned from '../fixtures/bits.json'
import { fixtureHashes, smollm2Hashes, type Way } from './support/bits.ts'

/** By threads. */
const WAYS: Readonly<Record<number, Way>> = {
  1: { size: 64 },
  2: { size: 5, cuts: [1], others: 3 }
}

test('the pinned bits are those of the arithmetic that peers are told', () => {
  expect(pinned.arithmetic).toBe(ARITHMETIC)
})

for (const variant of usableVariants()) {
  for (const [threads, way] of Object.entries(WAYS)) {
    test(`fixtures and SmolLM2 give their pinned bits by '${variant}', ${threads} thread(s)`, async () => {
      using engine = testEngine({ variant, threads: Number(threads) })
      expect(await fixtureHashes(engine, way)).toEqual(pinned.fixtures)
      expect(await smollm2Hashes(engine, way)).toEqual(pinned.smollm2)
    })
  }
}
