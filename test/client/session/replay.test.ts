// The plan of a replay, carried out over stations that only count: every hop must get each row it
// runs from what the client has, or from the hop before it.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { beginOf, planReplay, type HopProgress } from '../../../src/client/session/replay.ts'

function station(kv: number, from = 0, length = kv, relay = false): HopProgress {
  return { kv, from, length, relay }
}

test('planReplay() does nothing where every server holds enough', () => {
  expect(planReplay([station(8), station(9), station(8)], 8)).toEqual([])
})

test('planReplay() sends a cold hop what it was sent, and its neighbours together', () => {
  const alone = [station(8), station(0, 0, 8), station(8)]
  expect(planReplay(alone, 8)).toEqual([{ i: 1, j: 2, from: 0, gather: false }])
  const both = [station(8), station(0, 0, 8), station(3, 0, 8)]
  expect(planReplay(both, 8)).toEqual([{ i: 1, j: 3, from: 0, gather: false }])
})

test('planReplay() runs the hops before one whose inputs are not here', () => {
  const reused = [station(8, 0, 8), station(8, 6, 8), station(0, 6, 8)]
  expect(planReplay(reused, 8)).toEqual([{ i: 0, j: 3, from: 0, gather: false }])
})

test('planReplay() leaves a hop alone that holds what its cold neighbour would send it', () => {
  const reused = [station(0, 0, 8), station(8, 8, 8), station(8, 8, 8)]
  expect(planReplay(reused, 8)).toEqual([{ i: 0, j: 1, from: 0, gather: false }])
})

test('planReplay() carries where the client carries', () => {
  const relayed = [station(8, 0, 8, true), station(8, 6, 8), station(0, 6, 8)]
  expect(planReplay(relayed, 8)).toEqual([
    { i: 0, j: 1, from: 0, gather: true },
    { i: 1, j: 3, from: 0, gather: false }
  ])
})

test('planReplay() never asks for rows that nobody has, and leaves no hop behind', () => {
  const random = seededRandom(3)
  for (let round = 0; round < 3000; round++) {
    const to = 1 + random.below(6)
    const stations = Array.from({ length: 1 + random.below(5) }, (_, k): HopProgress => {
      const length = k === 0 ? to : random.below(to + 3)
      const from = k === 0 ? 0 : random.below(length + 1)
      return { kv: random.below(to + 3), from, length, relay: random.below(4) === 0 }
    })
    expect({ stations, to, wrong: carryOut(stations, to) }).toEqual({ stations, to, wrong: [] })
  }
})

/** What went wrong. */
function carryOut(stations: readonly HopProgress[], to: number): string[] {
  const wrong: string[] = []
  const now = stations.map((one) => ({ ...one }))
  for (const { i, j, from, gather } of planReplay(stations, to)) {
    const first = now[i]
    if (!first || first.from > from || first.length < to)
      wrong.push(`${i} lacks inputs from ${from}`)
    for (let k = i; k < j; k++) {
      const hop = now[k]
      if (!hop) continue
      if (hop.kv < from) wrong.push(`${k} has a gap before ${from}`)
      if (k < j - 1 && hop.relay) wrong.push(`${k} cannot push`)
      hop.kv = to
    }
    for (let k = i + 1; k < (gather ? j + 1 : j); k++) {
      const hop = now[k]
      if (!hop) continue
      if (from > hop.length || from < hop.from) hop.from = from
      hop.length = to
    }
  }
  for (const [k, hop] of now.entries()) if (hop.kv < to) wrong.push(`${k} is left at ${hop.kv}`)
  return wrong
}

test('beginOf() begins behind what the last server holds, and keeps the rows that are asked for', () => {
  const stations = [station(3), station(50)]
  expect([
    beginOf(stations, { start: 0, end: 60, answerRows: 1 }),
    beginOf(stations, { start: 0, end: 50, answerRows: 4 }),
    beginOf(stations, { start: 52, end: 60, answerRows: 1 })
  ]).toEqual([50, 46, 52])
})
