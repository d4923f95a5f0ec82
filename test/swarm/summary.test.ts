// Models of a swarm from what its servers say.
import { expect, test } from 'bun:test'
import { blockStates, summarise } from '../../src/swarm/summary.ts'
import { infoOf } from './world.ts'

const other = { model: new Uint8Array(32).fill(8), blockCount: 4 }

test('summarise() tells models apart, the most served first, with gaps and the weakest block', () => {
  const next = { start: 20, end: 30, inMs: 1, left: true }
  const models = summarise([
    infoOf(0, 4, { ...other, modelName: 'other', throughput: 80, freeTokens: 7 }),
    infoOf(0, 10, { modelName: 'liar', quant: 'int8', version: '2' }),
    infoOf(0, 20, { throughput: 400 }),
    infoOf(10, 25),
    infoOf(20, 30, { draining: true, next })
  ])
  expect(models).toEqual([
    {
      model: '07'.repeat(32),
      name: 'test',
      blockCount: 30,
      servers: 3,
      loading: 1,
      gaps: [{ start: 25, end: 30 }],
      tokensPerSecond: 0,
      freeTokens: 0,
      quants: ['f32', 'int8'],
      versions: ['0.0.0', '2']
    },
    expect.objectContaining({
      name: 'other',
      servers: 1,
      gaps: [],
      tokensPerSecond: 20,
      freeTokens: 7
    })
  ])
  expect(summarise([])).toEqual([])
})

test('blockStates() adds what servers of a block can do, each by the length of its span', () => {
  const infos = [infoOf(0, 2, { throughput: 20 }), infoOf(1, 3, { throughput: 8 })]
  expect(blockStates(infos, 4)).toEqual([
    { servers: 1, tokensPerSecond: 10 },
    { servers: 2, tokensPerSecond: 14 },
    { servers: 1, tokensPerSecond: 4 },
    { servers: 0, tokensPerSecond: 0 }
  ])
})
