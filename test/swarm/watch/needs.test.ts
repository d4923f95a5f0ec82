// Where another server helps most, and what the last hour was like.
import { describe, expect, test } from 'bun:test'
import { SwarmHistory } from '../../../src/swarm/watch/history.ts'
import { needsOf, type BareNeed } from '../../../src/swarm/watch/needs.ts'
import type { SwarmEvent } from '../../../src/swarm/watch/snapshot.ts'
import { joinCommand } from '../../../src/library/watch-swarm.ts'
import { blockStates, summarise } from '../../../src/swarm/summary.ts'
import { infoOf } from '../world.ts'

const needs = (spans: readonly [number, number, number][], blockCount: number): string[] =>
  needsOf(
    blockStates(
      spans.map(([start, end, throughput]) => ({ start, end, throughput })),
      blockCount
    )
  ).map(({ why, start, end, servers }) => `${why} ${start}:${end} of ${servers}`)

describe('needsOf()', () => {
  test('names missing blocks first, then those of one server, then the slowest', () => {
    expect(
      needs(
        [
          [0, 4, 400],
          [0, 4, 400],
          [4, 8, 40],
          [4, 8, 44],
          [8, 12, 100],
          [12, 14, 1]
        ],
        16
      )
    ).toEqual(['missing 14:16 of 0', 'alone 8:14 of 1', 'slowest 4:8 of 2'])
  })

  test('names no slowest blocks where all are alike, and all where nobody serves', () => {
    expect(
      needs(
        [
          [0, 4, 100],
          [0, 4, 100]
        ],
        4
      )
    ).toEqual([])
    expect(needs([], 4)).toEqual(['missing 0:4 of 0'])
  })

  test('names no more than a page can show', () => {
    const spans = Array.from({ length: 40 }, (_, i) => [2 * i, 2 * i + 1, 1] as const)
    expect(needs(spans as never, 80).length).toBe(8)
  })
})

test('joinCommand() believes an alias of ours alone, and else names what peers can prove', () => {
  const need = { start: 2, end: 5, why: 'missing', servers: 0, tokensPerSecond: 0 } as const
  const commandOf = (modelName: string, words = '', why: BareNeed['why'] = need.why): string => {
    const [model] = summarise([infoOf(0, 30, { modelName })])
    if (!model) throw new Error('There is no model')
    return joinCommand(model, { ...need, why }, words)
  }
  const id = '07'.repeat(32)
  expect(commandOf('stories260k')).toBe('petals join stories260k --blocks 2:5')
  // Where it is about speed or safety, the server that joins knows best what fits it.
  expect(commandOf('stories260k', '', 'alone')).toBe('petals join stories260k')
  expect(commandOf('stories260k', '', 'slowest')).toBe('petals join stories260k')
  expect(commandOf('x; rm -rf ~', '--lan')).toBe(`petals join ${id} --blocks 2:5 --lan`)
})

describe('SwarmHistory', () => {
  const event = (at: number): SwarmEvent => {
    return { at, kind: 'joined', peer: 'p', model: 'm', name: 'n', start: 0, end: 1 }
  }
  const sample = (at: number): { at: number } & Record<string, number> => {
    return { at, servers: 1, tokensPerSecond: 1, missingBlocks: 0 }
  }

  test('keeps one sample a minute and an hour of them', () => {
    const history = new SwarmHistory()
    for (let at = 0; at < 3 * 3_600_000; at += 15_000) history.sample('m', sample(at) as never)
    const ats = history.samplesOf('m').map(({ at }) => at)
    expect([ats.length, ats.at(-1)]).toEqual([60, 3 * 3_600_000 - 60_000])
    history.forget(ats.at(-1) ?? 0)
    expect(history.samplesOf('m')).toHaveLength(60)
    history.forget(24 * 3_600_000)
    expect(history.samplesOf('m')).toEqual([])
  })

  test('keeps the newest events of an hour, whoever makes more of them', () => {
    const history = new SwarmHistory()
    for (let at = 0; at < 10_000; at++) history.event(event(at))
    expect(history.eventsSince(0)).toHaveLength(500)
    expect(history.eventsSince(9_998).map(({ at }) => at)).toEqual([9_999, 9_998])
    history.forget(3_600_000 + 9_999)
    expect(history.eventsSince(0).map(({ at }) => at)).toEqual([9_999])
  })
})
