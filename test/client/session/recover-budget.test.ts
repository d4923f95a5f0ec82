import { expect, test } from 'bun:test'
import { RecoverBudget, type StepFailure } from '../../../src/client/session/recover-budget.ts'

type Row = readonly [Partial<StepFailure> & { readonly now: number }, number]

const usual = { isFirst: false, ofServer: true, isNew: false }

const TABLE: readonly (readonly [string, readonly Row[]])[] = [
  [
    'a step is tried for a minute from its first failure',
    [
      [{ now: 0 }, 60_000],
      [{ now: 30_000 }, 60_000]
    ]
  ],
  [
    'a first route is looked for as long as that may take',
    [[{ now: 0, isFirst: true, ofServer: false }, 5_000]]
  ],
  [
    'servers that are known and do not answer get longer for a first route',
    [[{ now: 0, isFirst: true }, 12_000]]
  ],
  [
    'a server that fails late leaves the next one time of its own',
    [
      [{ now: 0, isNew: true }, 60_000],
      [{ now: 59_000, isNew: true }, 71_000],
      [{ now: 70_000 }, 71_000]
    ]
  ],
  [
    'however many fail, a step ends after five times its limit',
    [
      [{ now: 0, isNew: true }, 60_000],
      [{ now: 299_000, isNew: true }, 300_000],
      [{ now: 299_500, isNew: true }, 300_000]
    ]
  ],
  [
    'blocks that nobody serves get no more time by failing again',
    [
      [{ now: 0, ofServer: false }, 60_000],
      [{ now: 59_000, ofServer: false, isNew: true }, 60_000]
    ]
  ]
]

for (const [name, rows] of TABLE) {
  test(name, () => {
    const budget = new RecoverBudget()
    expect(rows.map(([failure]) => budget.note({ ...usual, ...failure }))).toEqual(
      rows.map(([, giveUpAt]) => giveUpAt)
    )
  })
}

test('both limits can be given', () => {
  const budget = new RecoverBudget({ recoverMs: 100, findMs: 20 })
  expect(budget.note({ ...usual, now: 0, isFirst: true, ofServer: false })).toBe(20)
})
