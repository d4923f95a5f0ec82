import { expect, test } from 'bun:test'
import { Resource } from '../../../src/base/resource.ts'
import { unavailable, type AppError } from '../../../src/base/errors.ts'
import { AutoDrafter, mayPay, type OwnedDrafter } from '../../../src/client/speculate/auto-draft.ts'
import type { Draft, Drafter } from '../../../src/client/speculate/draft.ts'

class FakeDrafter extends Resource implements Drafter {
  readonly name = 'model'
  readonly guessMs = 5
  readonly fails: boolean
  begin(): void {}
  draft(): Draft {
    return { ids: [7], matched: 0 }
  }
  protected override async _open(): Promise<void> {
    if (this.fails) throw unavailable('It does not fit')
  }
  protected override async _close(): Promise<void> {}
  constructor(fails = false) {
    super()
    this.fails = fails
  }
}

function open(found: OwnedDrafter | undefined): {
  auto: AutoDrafter
  asked: number[]
  errors: AppError[]
} {
  const asked: number[] = []
  const errors: AppError[] = []
  const auto = new AutoDrafter({
    find: async (tripMs) => {
      asked.push(tripMs)
      return found
    },
    onerror: (error) => void errors.push(error)
  })
  return { auto, asked, errors }
}

async function trips(auto: AutoDrafter, count: number, ms: number): Promise<void> {
  for (let i = 0; i < count; i++) auto.ontrip(ms)
  await auto.settled()
}

test('no model is looked for while trips are short, or before there were several', async () => {
  const { auto, asked } = open(new FakeDrafter())
  await trips(auto, 100, 5)
  await trips(auto, 3, 500)
  expect([asked, auto.draft([1], 4)]).toEqual([[], { ids: [], matched: 0 }])
  expect(auto.guessMs).toBeGreaterThan(1e6)
})

test('long trips bring a model, whose guesses are given from then on', async () => {
  const { auto, asked } = open(new FakeDrafter())
  await trips(auto, 8, 100)
  await trips(auto, 100, 100)
  expect([asked, auto.guessMs, auto.draft([1], 4)]).toEqual([[100], 5, { ids: [7], matched: 0 }])
})

test('one trip of seconds among short ones brings no model', async () => {
  const { auto, asked } = open(new FakeDrafter())
  auto.ontrip(60_000)
  await trips(auto, 15, 5)
  expect(asked).toEqual([])
})

test('where there is no model it is looked for again when trips are twice as long', async () => {
  const { auto, asked } = open(undefined)
  await trips(auto, 64, 100)
  await trips(auto, 64, 250)
  expect(asked).toEqual([100, 250])
})

test('a model that cannot be loaded is told of and closed, and the text goes on without', async () => {
  const fake = new FakeDrafter(true)
  const { auto, errors } = open(fake)
  await trips(auto, 8, 100)
  expect([errors.map(({ message }) => message), fake.closed, auto.draft([1], 4)]).toEqual([
    ['It does not fit'],
    true,
    { ids: [], matched: 0 }
  ])
})

test('close() waits for what is loading, and closes it', async () => {
  const fake = new FakeDrafter()
  const { auto } = open(fake)
  for (let i = 0; i < 8; i++) auto.ontrip(100)
  await auto.close()
  expect([fake.opened, fake.closed]).toEqual([true, true])
})

test('mayPay() wants room for several guesses within a trip', () => {
  const small = 100e6
  expect([mayPay(small, 30), mayPay(small, 40), mayPay(700e6, 200), mayPay(700e6, 300)]).toEqual([
    false,
    true,
    false,
    true
  ])
  expect(mayPay(1e6, 10)).toBe(false)
})
