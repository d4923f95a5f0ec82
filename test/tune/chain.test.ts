// Whole sequences over servers that fail: what comes out is what one server would have given, to
// the bit, and only what failed is done again.
import { describe, expect, test } from 'bun:test'
import type { BlockSpan } from '../../src/base/block-span.ts'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import { AppError, badInput, disconnected, noRoute } from '../../src/base/errors.ts'
import type { RouteHop } from '../../src/client/route/route.ts'
import {
  Chain,
  type ChainStep,
  type SpanAnswer,
  type SpanCall,
  type TrainSwarm
} from '../../src/tune/swarm/chain.ts'
import { until } from '../swarm/world.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'

const WIDTH = 3
const BLOCKS = 6
const LENGTHS = [2, 3]

/** Servers of plain arithmetic, each with some blocks. */
class FakeSwarm implements TrainSwarm {
  readonly calls: string[] = []
  readonly #compute = new FakeCompute(WIDTH)
  readonly #gone = new Set<string>()
  /** Called before each call; what it throws is the server's failure. */
  oncall: (peer: string, kind: string, count: number) => void = () => {}
  spoil: (answer: SpanAnswer, peer: string) => SpanAnswer = (answer) => answer
  readonly servers: readonly RouteHop[]

  constructor(servers: readonly RouteHop[]) {
    this.servers = servers
  }

  async plan({ start, end }: BlockSpan): Promise<readonly RouteHop[]> {
    const hops: RouteHop[] = []
    for (let block = start; block < end;) {
      const next = this.servers.find(
        (one) => !this.#gone.has(one.peer) && one.start <= block && one.end > block
      )
      if (next === undefined) throw noRoute(`Nobody serves block ${block}`)
      const hop = { peer: next.peer, start: block, end: Math.min(next.end, end) }
      hops.push(hop)
      block = hop.end
    }
    return hops
  }

  async call({ hop, step, hidden, gradient }: SpanCall): Promise<SpanAnswer> {
    const kind = gradient === undefined ? 'forward' : 'backward'
    this.calls.push(`${kind} ${hop.peer} ${hop.start}:${hop.end}`)
    this.oncall(hop.peer, kind, this.calls.length)
    const each = (step.adapter?.values.length ?? 0) / BLOCKS
    const answer = await this.#compute.train({
      span: 1,
      range: hop,
      lengths: step.lengths,
      hidden,
      gradient,
      adapter: step.adapter && {
        shape: step.adapter.shape,
        values: step.adapter.values.slice(hop.start * each, hop.end * each)
      }
    })
    return this.spoil(answer, hop.peer)
  }

  failed(peer: string): void {
    this.#gone.add(peer)
  }
}

const STEP: ChainStep = {
  lengths: LENGTHS,
  adapter: {
    shape: { rank: 1, scale: 1, targets: ['q'] },
    values: Float32Array.from({ length: BLOCKS * 2 }, (_, i) => i)
  }
}
const rows = (seed: number): Float32Array =>
  Float32Array.from({ length: 5 * WIDTH }, (_, i) => Math.fround(Math.sin(i + seed)))
const { signal } = new AbortController()

async function both(
  swarm: FakeSwarm,
  clock: Clock = systemClock
): Promise<{ output: Float32Array; hidden: Float32Array }> {
  const chain = new Chain({ swarm, blockCount: BLOCKS, clock })
  const forward = await chain.forward(STEP, rows(1), signal)
  const back = await chain.backward(STEP, forward, { gradient: rows(2), signal })
  expect(back.adapter?.length).toBe(BLOCKS * 2)
  return { output: forward.output, hidden: back.hidden }
}

const hop = (peer: string, start: number, end: number): RouteHop => ({ peer, start, end })
const ONE = [hop('all', 0, 6)]
const CHAIN = [hop('a', 0, 2), hop('b', 2, 4), hop('c', 4, 6)]

describe('Chain', () => {
  test('gives over three servers what one gives', async () => {
    expect(await both(new FakeSwarm(CHAIN))).toEqual(await both(new FakeSwarm(ONE)))
  })

  for (const kind of ['forward', 'backward']) {
    for (const victim of ['a', 'b', 'c']) {
      test(`does what ${victim} fails ${kind} again elsewhere, and nothing else`, async () => {
        const swarm = new FakeSwarm([...CHAIN, hop('spare', 0, 6)])
        swarm.oncall = (peer, now) => {
          if (peer === victim && now === kind) throw disconnected('gone')
        }
        expect(await both(swarm)).toEqual(await both(new FakeSwarm(ONE)))
        const again = swarm.calls.find((call) => call.includes('spare'))
        const failed = swarm.calls.find((call) => call.startsWith(`${kind} ${victim}`))
        // From the same block on, in the same direction; forwards it may go on to the end.
        expect(again?.split(':')[0]).toBe(failed!.split(':')[0]!.replace(` ${victim} `, ' spare '))
        expect(swarm.calls.filter((call) => call.startsWith('forward a')).length).toBe(1)
      })
    }
  }

  test('covers a lost span by several servers, computing anew what goes into each', async () => {
    const swarm = new FakeSwarm([hop('a', 0, 6), hop('x', 0, 3), hop('y', 3, 6)])
    swarm.oncall = (peer, kind) => {
      if (peer === 'a' && kind === 'backward') throw disconnected('gone')
    }
    expect(await both(swarm)).toEqual(await both(new FakeSwarm(ONE)))
    expect(swarm.calls.slice(2)).toEqual([
      'forward x 0:3',
      'forward y 3:6',
      'backward y 3:6',
      'backward x 0:3'
    ])
  })

  test.each([
    ['another shape', (values: Float32Array) => values.slice(1)],
    ['no numbers', (values: Float32Array) => values.map(() => NaN)]
  ])('leaves out a server that answers with %s', async (_, spoilt) => {
    const swarm = new FakeSwarm([...CHAIN, hop('spare', 0, 6)])
    swarm.spoil = (answer, peer) =>
      peer === 'b' ? { ...answer, hidden: spoilt(answer.hidden) } : answer
    expect(await both(swarm)).toEqual(await both(new FakeSwarm(ONE)))
  })

  test('waits for a busy server and does not leave it out', async () => {
    const swarm = new FakeSwarm(CHAIN)
    swarm.oncall = (peer, _, count) => {
      if (peer === 'b' && count < 4) throw new AppError('BUSY', 'later', { retryAfterMs: 1 })
    }
    expect(await both(swarm)).toEqual(await both(new FakeSwarm(ONE)))
  })

  test('ends when two servers come to values that are no numbers', async () => {
    const swarm = new FakeSwarm([hop('a', 0, 6), hop('b', 0, 6)])
    swarm.spoil = (answer) => ({ ...answer, hidden: answer.hidden.map(() => NaN) })
    await expect(both(swarm)).rejects.toMatchObject({ code: 'COMPUTE' })
  })

  test('ends when two servers refuse what they are given', async () => {
    const swarm = new FakeSwarm([hop('a', 0, 6), hop('b', 0, 6)])
    swarm.oncall = (_, kind) => {
      if (kind === 'backward') throw badInput('no')
    }
    await expect(both(swarm)).rejects.toMatchObject({ code: 'BAD_INPUT' })
    expect(swarm.calls.length).toBe(3)
  })

  test('asks a server that fails again and again at growing intervals', async () => {
    const swarm = new FakeSwarm(ONE)
    swarm.failed = () => {}
    let asked = 0
    swarm.oncall = (_, kind) => {
      if (kind === 'backward' && ++asked < 4) throw disconnected('gone')
    }
    const clock = new FakeClock()
    const made = both(swarm, clock)
    await until(() => asked === 2)
    for (const wait of [500, 1000]) {
      const before = asked
      await clock.advance(wait - 1)
      expect(asked).toBe(before)
      await clock.advance(1)
      await until(() => asked === before + 1)
    }
    expect(await made).toEqual(await both(new FakeSwarm(ONE)))
  })

  test('ends at once when it is cancelled', async () => {
    const stop = new AbortController()
    const swarm = new FakeSwarm(CHAIN)
    swarm.oncall = () => {
      stop.abort()
      throw disconnected('gone')
    }
    const chain = new Chain({ swarm, blockCount: BLOCKS, clock: systemClock })
    await expect(chain.forward(STEP, rows(1), stop.signal)).rejects.toThrow()
    expect(swarm.calls.length).toBe(1)
  })
})
