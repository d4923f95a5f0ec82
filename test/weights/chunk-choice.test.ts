// What peers say of chunks, what is believed, and whom is asked for what: without a network.
import { describe, expect, test } from 'bun:test'
import { busy, disconnected, notFound } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import { judgeClaims, type PeerClaims } from '../../src/weights/chunk-claims.ts'
import {
  ChunkExchange,
  type ChunkPeer,
  type ExchangeOptions
} from '../../src/weights/chunk-exchange.ts'
import { HashClaims, runsOf } from '../../src/weights/hash-claims.ts'
import { rarestFirst } from '../../src/weights/rarest-first.ts'
import type { Holding } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const claims = (peer: string, hashes: Record<number, string>): PeerClaims => ({
  peer,
  hash: (index) => hashes[index]
})

describe('judgeClaims()', () => {
  test('takes what all who vouch agree on, and says how few vouched', () => {
    const verdict = judgeClaims(
      [1, 2, 3],
      [claims('a', { 1: 'x', 2: 'y' }), claims('b', { 1: 'x' }), claims('c', {})],
      new Map()
    )
    expect(verdict).toEqual({
      accepted: new Map([
        [1, 'x'],
        [2, 'y']
      ]),
      liars: new Set(),
      dispute: undefined,
      disputed: 0,
      vouchers: 1
    })
  })

  test('takes nothing that honest peers contradict each other about', () => {
    const verdict = judgeClaims(
      [1, 2],
      [claims('a', { 1: 'x', 2: 'y' }), claims('b', { 1: 'z', 2: 'y' }), claims('c', { 1: 'x' })],
      new Map()
    )
    expect([...verdict.accepted]).toEqual([[2, 'y']])
    expect(verdict.dispute).toEqual({
      index: 1,
      sides: new Map([
        ['x', ['a', 'c']],
        ['z', ['b']]
      ])
    })
  })

  test('hears nobody who contradicts what is known', () => {
    const verdict = judgeClaims(
      [1],
      [claims('a', { 1: 'x', 9: 'true' }), claims('b', { 1: 'z', 9: 'false' })],
      new Map([[9, 'true']])
    )
    expect([[...verdict.accepted], [...verdict.liars]]).toEqual([[[1, 'x']], ['b']])
  })
})

describe('rarestFirst()', () => {
  const has = (...indexes: number[]): { has(index: number): boolean } => ({
    has: (index) => indexes.includes(index)
  })

  test('orders by holders and leaves out what nobody has', () => {
    const peers = [has(1, 2, 3), has(2, 3), has(3)]
    expect(rarestFirst([3, 2, 1, 4], peers, seededRandom(1))).toEqual([1, 2, 3])
  })

  test('decides between equals by chance, the same for the same seed', () => {
    const all = Array.from({ length: 32 }, (_, i) => i)
    const orders = [1, 1, 2].map((seed) => rarestFirst(all, [has(...all)], seededRandom(seed)))
    expect(orders[0]).toEqual(orders[1]!)
    expect(orders[0]).not.toEqual(orders[2]!)
    expect(orders[2]!.toSorted((a, b) => a - b)).toEqual(all)
  })
})

describe('HashClaims', () => {
  const holding: Holding = {
    sizeBytes: 160,
    chunkBytes: 10,
    isWhole: false,
    held: new Uint8Array([0xff, 0xff]),
    vouched: new Uint8Array([0b0000_1111, 0])
  }

  test('asks in runs that step over small gaps and end at the limit', () => {
    expect(runsOf([5, 1, 2, 2, 200, 201])).toEqual([
      { start: 1, count: 5 },
      { start: 200, count: 2 }
    ])
    expect(runsOf([0, 1, 2, 3, 4], 2)).toEqual([
      { start: 0, count: 2 },
      { start: 2, count: 2 },
      { start: 4, count: 1 }
    ])
  })

  test('asks only for what is vouched for, and takes zeros for no hash', async () => {
    const asked: [number, number][] = []
    const found = await HashClaims.ask([0, 3, 12], holding, async (start, count) => {
      asked.push([start, count])
      const hashes = new Uint8Array(count * 32)
      hashes.fill(7, 32 * (count - 1))
      return hashes
    })
    expect(asked).toEqual([[0, 4]])
    expect([found.hash(0), found.hash(3), found.hash(12)]).toEqual([
      undefined,
      '07'.repeat(32),
      undefined
    ])
  })

  test('refuses an answer of another length', async () => {
    const ask = HashClaims.ask([0], holding, async () => new Uint8Array(31))
    expect(await ask.catch((error: unknown) => error)).toMatchObject({ code: 'PROTOCOL' })
  })
})

describe('ChunkExchange', () => {
  const bytesOf = (index: number): Uint8Array => new Uint8Array(100).fill(index)
  const hashOf = (index: number): string =>
    new Bun.CryptoHasher('sha256').update(bytesOf(index)).digest('hex')
  const wanted = (count: number): Map<number, string> =>
    new Map(Array.from({ length: count }, (_, i) => [i, hashOf(i)]))

  interface Fake extends ChunkPeer {
    readonly asked: number[]
  }

  const peer = (
    id: string,
    has: (index: number) => boolean,
    give: (index: number) => Promise<Uint8Array> | Uint8Array = bytesOf
  ): Fake => {
    const asked: number[] = []
    return {
      id,
      asked,
      has,
      async fetch(index) {
        asked.push(index)
        return give(index)
      }
    }
  }

  const run = async (
    peers: readonly ChunkPeer[],
    count: number,
    more: Partial<ExchangeOptions> = {}
  ): Promise<{ came: number; givers: number; kept: number[]; wrong: string[] }> => {
    const kept: number[] = []
    const wrong: string[] = []
    const exchange = new ChunkExchange({
      wanted: wanted(count),
      peers,
      keep: async (index, bytes) => {
        expect(bytes).toEqual(bytesOf(index))
        kept.push(index)
      },
      onwrong: (id) => wrong.push(id),
      random: seededRandom(3),
      clock: new FakeClock(),
      ...more
    })
    const result = await exchange.run()
    return { ...result, givers: result.givers.length, kept: kept.toSorted((a, b) => a - b), wrong }
  }

  const all = Array.from({ length: 12 }, (_, i) => i)

  test('fetches from several, each what it has, nothing twice', async () => {
    const even = peer('even', (index) => index % 2 === 0)
    const odd = peer('odd', (index) => index % 2 === 1)
    const both = peer('both', () => true)
    const result = await run([even, odd, both], 12)
    expect(result).toEqual({ came: 12, givers: 3, kept: all, wrong: [] })
    expect(even.asked.length + odd.asked.length + both.asked.length).toBe(12)
    expect(Math.max(even.asked.length, odd.asked.length, both.asked.length)).toBeLessThan(8)
  })

  test('drops a wrong chunk and its giver, and gets it elsewhere', async () => {
    const liar = peer(
      'liar',
      () => true,
      () => new Uint8Array(100).fill(99)
    )
    const honest = peer('honest', () => true)
    const result = await run([liar, honest], 12)
    expect(result).toEqual({ came: 12, givers: 1, kept: all, wrong: ['liar'] })
    expect(liar.asked.length).toBeLessThanOrEqual(4)
  })

  test('ends with what came when those who have the rest are gone', async () => {
    let given = 0
    const dying = peer(
      'dying',
      () => true,
      (index) => {
        if (++given > 5) throw disconnected('gone')
        return bytesOf(index)
      }
    )
    const other = peer('other', (index) => index < 2)
    const { came, kept } = await run([dying, other], 12)
    expect(came).toBe(kept.length)
    expect(came).toBeGreaterThanOrEqual(5)
    expect(came).toBeLessThan(12)
  })

  test('asks another for what one has not got after all', async () => {
    const empty = peer(
      'empty',
      () => true,
      () => {
        throw notFound('not here')
      }
    )
    expect((await run([empty, peer('full', () => true)], 12)).came).toBe(12)
  })

  test('comes back to a busy peer later', async () => {
    const clock = new FakeClock()
    let refusals = 3
    const slow = peer(
      'slow',
      () => true,
      (index) => {
        if (refusals-- > 0) throw busy('later')
        return bytesOf(index)
      }
    )
    const running = run([slow], 4, { clock })
    await clock.advance(10_000)
    expect((await running).came).toBe(4)
  })

  test('asks a second peer for the last chunk that a first one is slow with', async () => {
    const held = Promise.withResolvers<Uint8Array>()
    const slow = peer(
      'slow',
      () => true,
      () => held.promise
    )
    const quick = peer('quick', () => true)
    const { came, givers } = await run([slow, quick], 12, { pipeline: 2 })
    expect({ came, givers }).toEqual({ came: 12, givers: 1 })
    held.resolve(bytesOf(0))
  })

  test('leaves peers that are slower than is asked of them', async () => {
    const clock = new FakeClock()
    const never = peer(
      'never',
      () => true,
      () => new Promise<never>(() => {})
    )
    const running = run([never], 12, { clock, leastSpeed: 1000 })
    await clock.advance(10_000)
    expect((await running).came).toBe(0)
    expect(clock.pending).toBe(0)
  })

  test('passes on why a chunk could not be kept', async () => {
    const keep = async (): Promise<never> => {
      throw new Error('The disk is full')
    }
    const running = run([peer('a', () => true)], 4, { keep })
    expect(await running.catch((error: unknown) => error)).toMatchObject({
      message: 'The disk is full'
    })
  })

  test('stops when it is told to', async () => {
    const abort = new AbortController()
    const never = peer(
      'never',
      () => true,
      () => new Promise<never>(() => {})
    )
    const running = run([never], 4, { signal: abort.signal })
    abort.abort()
    expect(await running.catch((error: unknown) => error)).toMatchObject({ code: 'CANCELLED' })
  })
})
