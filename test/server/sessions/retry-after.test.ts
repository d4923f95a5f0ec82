import { expect, test } from 'bun:test'
import { freeInMs, roomInMs } from '../../../src/server/sessions/retry-after.ts'

test('freeInMs() tells when enough sessions will have ended, by how long others lived', () => {
  const held = [
    { tokens: 10, ageMs: 1000, idleMs: 0 },
    { tokens: 20, ageMs: 9000, idleMs: 0 },
    { tokens: 40, ageMs: 2000, idleMs: 59_000 }
  ]
  const lives = { ended: [5000, 10_000, 12_000, 11_000], idleLimitMs: 60_000 }
  // The third is dropped in a second, the second is likely to end in two, the first in eight and a
  // half.
  expect([5, 41, 61, 70, 71].map((tokens) => freeInMs(tokens, held, lives))).toEqual([
    1000, 2000, 8500, 8500, 600_000
  ])
})

test('freeInMs() takes the age of what nothing like it has outlived, and says nothing foolish', () => {
  const held = [{ tokens: 1, ageMs: 7000, idleMs: 0 }]
  const lives = { ended: [], idleLimitMs: 60_000 }
  expect([
    freeInMs(1, held, lives),
    freeInMs(1, [{ tokens: 1, ageMs: 1, idleMs: 1 }], lives),
    freeInMs(1, [], lives)
  ]).toEqual([7000, 250, 600_000])
})

test('roomInMs() is the time of half of what waits, once a pace is known', () => {
  expect([roomInMs(128, undefined), roomInMs(128, 20), roomInMs(4, 1)]).toEqual([
    undefined,
    1280,
    250
  ])
})
