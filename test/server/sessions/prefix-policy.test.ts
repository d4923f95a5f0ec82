// What is kept of ended sessions: which goes when, and who gets it or a copy.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import {
  evict,
  handOut,
  type Kept,
  type KeepLimits
} from '../../../src/server/sessions/prefix-policy.ts'

const LIMITS: KeepLimits = { tokens: 1000, entries: 4, entriesPerOwner: 3, ttlMs: 1000 }

function kept(name: string, tokens: number, usedAt: number): Kept & { readonly name: string } {
  return { name, owner: name.slice(0, 1), tokens, usedAt }
}

function gone(
  entries: readonly (Kept & { name: string })[],
  roomTokens = 1e9,
  now = 600
): string[] {
  return evict(entries, { limits: LIMITS, roomTokens, now }).map((one) => one.name)
}

test('evict() leaves what has room', () => {
  expect(gone([kept('a1', 500, 0), kept('b1', 500, 500)])).toEqual([])
})

test('evict() takes what is too old, whatever room there is', () => {
  expect(gone([kept('a1', 1, 0), kept('b1', 1, 500)], 1e9, 1000)).toEqual(['a1'])
})

test('evict() takes the old before the young, and of one age the largest', () => {
  const entries = [kept('a1', 300, 100), kept('b1', 300, 590), kept('c1', 600, 90)]
  expect(gone(entries)).toEqual(['c1'])
  expect(gone(entries, 350)).toEqual(['c1', 'a1'])
  expect(gone(entries, 0)).toEqual(['c1', 'a1', 'b1'])
})

test('evict() lets no peer keep more than its part, and keeps to the number of all', () => {
  const own = [1, 2, 3, 4].map((n) => kept(`a${n}`, 10, n * 140))
  expect(gone([...own, kept('b1', 10, 0)])).toEqual(['a1'])
  const many = ['a', 'b', 'c', 'd', 'e'].map((name, i) => kept(name, 10, i * 100))
  expect(gone(many)).toEqual(['a'])
})

test('evict() takes from the address that has most, and there from the peer that has most', () => {
  const flood = Array.from({ length: 16 }, (_, i) => {
    return { ...kept(`a${i}`, 16, 500 + i), owner: `a${i % 3}`, origin: 'one address' }
  })
  const honest = { ...kept('b', 400, 100), origin: 'another' }
  const neighbour = { ...kept('c', 300, 100), origin: 'one address' }
  const limits = { ...LIMITS, entries: 10, entriesPerOwner: 100 }
  const left = (entries: readonly (Kept & { name: string })[]): string[] => {
    const out = new Set(evict(entries, { limits, roomTokens: 1e9, now: 600 }))
    return entries.filter((one) => !out.has(one)).map(({ name }) => name)
  }
  expect(left([...flood, honest])).toContain('b')
  expect(left([...flood, neighbour])).toContain('c')
})

test('evict() leaves no more than the limits, and nothing to spare when little was needed', () => {
  const random = seededRandom(7)
  for (let round = 0; round < 500; round++) {
    const entries = Array.from({ length: random.below(12) }, (_, i) =>
      kept(`${'abc'.charAt(random.below(3))}${i}`, 1 + random.below(400), random.below(1500))
    )
    const options = { limits: LIMITS, roomTokens: random.below(1500), now: 1500 }
    const out = new Set(evict(entries, options))
    const rest = entries.filter((one) => !out.has(one))
    const tokens = rest.reduce((sum, one) => sum + one.tokens, 0)
    const most = Math.max(
      0,
      ...['a', 'b', 'c'].map((o) => rest.filter((r) => r.owner === o).length)
    )
    const fits = tokens <= Math.min(options.roomTokens, 1000) && rest.length <= 4 && most <= 3
    const young = rest.every((one) => 1500 - one.usedAt < LIMITS.ttlMs)
    expect({ fits, young }).toEqual({ fits: true, young: true })
  }
})

test('handOut() moves what goes on and copies what only begins the same, or is published', () => {
  const held = { length: 1000, published: false }
  expect([
    handOut(held, 960),
    handOut(held, 500),
    handOut({ ...held, published: true }, 960)
  ]).toEqual(['move', 'copy', 'copy'])
})
