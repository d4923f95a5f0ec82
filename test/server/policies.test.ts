import { expect, test } from 'bun:test'
import { chooseSpan, coverage } from '../../src/server/placement/placement.ts'
import { freeInMs, roomInMs } from '../../src/server/sessions/retry-after.ts'
import { pickBatch, type Waiting } from '../../src/server/sessions/schedule.ts'

function job(peer: string, session: string, count: number, since: number): Waiting {
  return { peer, session, count, since }
}

/** One after the other, as an engine takes them that does one at a time. */
function order(waiting: Waiting[], now: number): string[] {
  const left = [...waiting]
  const lastServed = new Map<string, number>()
  const served: string[] = []
  while (left.length > 0) {
    const state = { running: [], lastServed, now: now + served.length }
    const [index = -1] = pickBatch(left, state, { steps: 1 })
    const [next] = left.splice(index, 1)
    if (!next) break
    served.push(`${next.session}@${next.since}`)
    lastServed.set(next.peer, now + served.length)
  }
  return served
}

test('pickBatch() serves peers in turn, not by who asks most', () => {
  const waiting = [
    job('a', 'a1', 1, 0),
    job('a', 'a2', 1, 1),
    job('a', 'a3', 1, 2),
    job('b', 'b1', 1, 3)
  ]
  expect(order(waiting, 10)).toEqual(['a1@0', 'b1@3', 'a2@1', 'a3@2'])
})

test('pickBatch() lets a decode step overtake a prompt, until the prompt has waited enough', () => {
  const waiting = [job('a', 'a1', 128, 0), job('b', 'b1', 1, 100)]
  expect([order(waiting, 120), order(waiting, 260)]).toEqual([
    ['b1@100', 'a1@0'],
    ['a1@0', 'b1@100']
  ])
})

test('pickBatch() keeps the order within a session', () => {
  const waiting = [job('a', 'a1', 128, 0), job('a', 'a1', 1, 1)]
  expect(order(waiting, 2)).toEqual(['a1@0', 'a1@1'])
})

test('pickBatch() fills the engine by peers in turn, a step of each session, few prompts', () => {
  const waiting = [
    job('a', 'a1', 1, 0),
    job('a', 'a1', 1, 1),
    job('a', 'a2', 1, 2),
    job('a', 'a3', 1, 3),
    job('b', 'b1', 200, 4),
    job('c', 'c1', 300, 5),
    job('c', 'c2', 1, 6)
  ]
  const state = { running: [job('d', 'd1', 500, 0)], lastServed: new Map(), now: 1000 }
  expect([
    pickBatch(waiting, state, { steps: 5 }),
    pickBatch(waiting, { ...state, running: [job('a', 'a1', 1, 0)] }, { steps: 3 })
  ]).toEqual([
    [0, 4, 6, 2],
    [4, 5]
  ])
})

test('freeInMs() tells when enough sessions will have ended, by how long others lived', () => {
  const held = [
    { tokens: 10, ageMs: 1000, idleMs: 0 },
    { tokens: 20, ageMs: 9000, idleMs: 0 },
    { tokens: 40, ageMs: 2000, idleMs: 59_000 }
  ]
  const lives = { ended: [5000, 10_000, 12_000, 11_000], idleLimitMs: 60_000 }
  // The third is dropped in a second, the second is likely to end in two, the first in eight and a half.
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

test('coverage() shares a throughput over its blocks', () => {
  expect([...coverage([{ start: 1, end: 3, throughput: 10 }], 4)]).toEqual([0, 5, 5, 0])
})

test('chooseSpan() fills the gap first', () => {
  const spans = [
    { start: 0, end: 10, throughput: 5 },
    { start: 20, end: 30, throughput: 5 }
  ]
  expect(chooseSpan(spans, 30, 10)).toEqual({ start: 10, end: 20 })
})

test('chooseSpan() helps the weakest blocks when there is no gap', () => {
  const spans = [
    { start: 0, end: 15, throughput: 100 },
    { start: 15, end: 30, throughput: 10 }
  ]
  expect(chooseSpan(spans, 30, 15)).toEqual({ start: 15, end: 30 })
})

test('chooseSpan() takes everything when the machine can hold it', () => {
  expect(chooseSpan([], 30, 64)).toEqual({ start: 0, end: 30 })
})
