import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { cutDraft } from '../../../src/client/speculate/draft.ts'
import { NgramDrafter } from '../../../src/client/speculate/ngram.ts'

function guess(text: number[], most = 4): { ids: readonly number[]; matched: number } {
  const drafter = new NgramDrafter()
  drafter.begin(text)
  return drafter.draft(text, most)
}

/** The longest agreement of any earlier place with the end, by looking everywhere. */
function longestAgreement(text: readonly number[]): number {
  let longest = 0
  for (let place = text.length - 1; place > 0; place--) {
    let length = 0
    while (length < place && text[place - 1 - length] === text.at(-1 - length)) length++
    longest = Math.max(longest, Math.min(length, 16))
  }
  return longest
}

test('a draft is what followed the longest earlier match', () => {
  expect(guess([1, 2, 3, 40, 41, 42, 9, 2, 3, 50, 1, 2, 3])).toEqual({
    ids: [40, 41, 42, 9],
    matched: 3
  })
})

test('a draft follows the latest of matches that are equally long', () => {
  expect(guess([7, 8, 10, 7, 8, 20, 7, 8], 1)).toEqual({ ids: [20], matched: 2 })
})

test('a single id that came before is a match', () => {
  expect(guess([5, 6, 7, 5], 2)).toEqual({ ids: [6, 7], matched: 1 })
})

test('a text without repetition gives no draft', () => {
  expect(guess([1, 2, 3, 4, 5]).ids).toEqual([])
})

test('a text that repeats with a short period is continued as far as asked', () => {
  expect(guess([9, 1, 2, 1, 2], 5).ids).toEqual([1, 2, 1, 2, 1])
})

test('a text that grows by an id at a time gives the drafts of one begun whole', () => {
  const random = seededRandom(3)
  const text = [0]
  const grown = new NgramDrafter()
  grown.begin(text)
  for (let i = 0; i < 3000; i++) {
    text.push(random.below(6))
    const draft = grown.draft(text, 3)
    if (i % 50 === 0) expect(draft).toEqual(guess(text, 3))
  }
})

test('beginning a text anew forgets exactly what it does not share', () => {
  const random = seededRandom(4)
  const drafter = new NgramDrafter()
  for (let round = 0; round < 60; round++) {
    const shared = Array.from({ length: 40 + random.below(2000) }, (_, i) => (i * i) % 11)
    const text = [...shared, ...Array.from({ length: random.below(60) }, () => random.below(5))]
    drafter.begin(text)
    expect({ round, draft: drafter.draft(text, 5) }).toEqual({ round, draft: guess(text, 5) })
  }
})

test('in a text without very frequent pairs no longer match is missed', () => {
  const random = seededRandom(5)
  const drafter = new NgramDrafter()
  const text = [0]
  drafter.begin(text)
  let matches = 0
  for (let i = 0; i < 600; i++) {
    const copy = text.length > 30 && random.next() < 0.1
    const from = random.below(text.length)
    text.push(...(copy ? text.slice(from, from + 8) : [random.below(200)]))
    const { matched } = drafter.draft(text, 1)
    const longest = longestAgreement(text)
    expect({ i, matched }).toEqual({ i, matched: longest })
    if (matched > 1) matches++
  }
  expect(matches).toBeGreaterThan(40)
})

test('cutDraft() ends before a stop and at the limit', () => {
  const draft = { ids: [1, 2, 3, 4], matched: 2 }
  const cut = (most: number, stops: number[]): readonly number[] =>
    cutDraft(draft, most, new Set(stops)).ids
  expect([cut(9, []), cut(9, [3]), cut(1, [3]), cut(9, [1]), cut(0, [])]).toEqual([
    [1, 2, 3, 4],
    [1, 2],
    [1],
    [],
    []
  ])
})
