// Memory between a step's two ways: lent, called back when others need it, and given up when no way
// back comes.
import { expect, test } from 'bun:test'
import { MemoryBudget } from '../../../src/blocks/memory-budget.ts'
import { KeptSteps, type KeptBlock } from '../../../src/blocks/train/kept-steps.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

const SIZE = 1000

function blockOf(kept: KeptSteps): KeptBlock {
  return { input: new Float32Array(25), memory: kept.memory(SIZE) }
}

test('a step is found once, and its memory serves the next', () => {
  using kept = new KeptSteps(new MemoryBudget(2500), new FakeClock())
  const block = blockOf(kept)
  kept.keep('a', [block])
  expect(kept.take('a')).toEqual([block])
  expect(kept.take('a')).toBeUndefined()
  // Half of the budget is for one block's rows.
  expect(kept.memory(SIZE)).toBeUndefined()
  block.memory?.[Symbol.dispose]()
  expect(kept.memory(SIZE)?.address).toBe(block.memory?.address)
})

test('whoever reserves memory gets what was lent', () => {
  const budget = new MemoryBudget(3000)
  using kept = new KeptSteps(budget, new FakeClock())
  kept.keep('a', [blockOf(kept)])
  expect(budget.freeBytes).toBe(3000)
  using all = budget.reserve(3000, 'A session')
  expect(all.sizeBytes).toBe(3000)
  expect(kept.take('a')).toBeUndefined()
  expect(kept.memory(SIZE)).toBeUndefined()
})

test('memory that is in use is not given away', () => {
  const budget = new MemoryBudget(3000)
  using kept = new KeptSteps(budget, new FakeClock())
  using _used = kept.memory(SIZE)
  expect(() => budget.reserve(2500, 'A session')).toThrow('A session cannot be held')
})

test('a step whose way back does not come gives way to later ones, and to time', async () => {
  const clock = new FakeClock()
  const budget = new MemoryBudget(2 ** 20)
  using kept = new KeptSteps(budget, clock)
  for (let i = 0; i < 18; i++) kept.keep(`step ${i}`, [blockOf(kept)])
  expect(kept.take('step 0')).toBeUndefined()
  expect(kept.take('step 1')).toHaveLength(1)
  await clock.advance(60_000)
  expect(kept.take('step 17')).toBeUndefined()
})
