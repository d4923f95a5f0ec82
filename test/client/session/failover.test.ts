// A step that is tried again: what is done to the chain after each failure, and when it is given
// up.
import { expect, test } from 'bun:test'
import { AppError, disconnected, noRoute } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import type { Hop } from '../../../src/client/route/hop.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { Chain } from '../../../src/client/session/chain.ts'
import { Failover, type RetryOptions } from '../../../src/client/session/failover.ts'
import { HopFailure } from '../../../src/client/session/hop-failure.ts'
import type { RouteKeeper } from '../../../src/client/session/route-keeper.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'

const FIRST = 'aa'.repeat(32)
const SECOND = 'bb'.repeat(32)

function world() {
  const clock = new FakeClock()
  const book = new PeerBook()
  const chain = new Chain({ hiddenSize: 4, dtype: 'f32' })
  const hop = (peer: string, start: number): Hop => ({
    link: { peer } as Hop['link'],
    start,
    end: start + 2,
    inputs: chain.inputs(start),
    rounding: 'f32',
    kv: 0,
    named: 0,
    promised: 8,
    relay: false
  })
  chain.add([hop(FIRST, 0), hop(SECOND, 2)])
  const rerouted: string[] = []
  const failover = new Failover({
    chain,
    keeper: { drop: (peer: string) => void chain.remove(peer) } as RouteKeeper,
    book,
    clock,
    log: silentLog,
    recoverMs: 10_000,
    onreroute: (peer, why) => rerouted.push(`${peer.slice(0, 2)} ${why.code}`)
  })
  const peers = (): string[] => chain.hops.map(({ link }) => link.peer)
  const avoided = (): string[] => book.avoidedInOrder(clock.now())
  return { clock, chain, failover, rerouted, peers, avoided }
}

function options(more: Partial<RetryOptions> = {}): RetryOptions {
  const { signal } = new AbortController()
  return { signal, isFirst: () => false, adapt: () => false, ...more }
}

/** Fails with each of these in turn, then answers with how often it was called. */
function attempts(...failures: readonly Error[]): () => Promise<number> {
  let calls = 0
  return async () => {
    const failure = failures[calls++]
    if (failure) throw failure
    return calls
  }
}

test('a server that is gone is taken out and avoided, and the step is tried again at once', async () => {
  const { failover, rerouted, peers, avoided, clock } = world()
  const failing = attempts(new HopFailure(SECOND, disconnected('killed')))
  expect(await failover.retry(failing, options())).toBe(2)
  expect([peers(), avoided(), rerouted]).toEqual([[FIRST], [SECOND], ['bb DISCONNECTED']])
  expect([failover.reroutes, clock.now()]).toEqual([1, 0])
})

test('of failures at the same time, each server is left', async () => {
  const { failover, peers, rerouted } = world()
  const failure = new HopFailure(FIRST, disconnected('killed'))
  failure.also = [new HopFailure(SECOND, disconnected('killed, too'))]
  expect(await failover.retry(attempts(failure), options())).toBe(2)
  expect([peers(), rerouted]).toEqual([[], ['aa DISCONNECTED', 'bb DISCONNECTED']])
})

test('a server that cannot reach the next one is carried for, and stays', async () => {
  const { failover, chain, peers, rerouted } = world()
  const error = new AppError('UNAVAILABLE', 'The next server cannot be reached')
  const failure = new HopFailure(SECOND, error, { teller: FIRST })
  expect(await failover.retry(attempts(failure), options())).toBe(2)
  expect([peers(), chain.isCarried(0), rerouted]).toEqual([[FIRST, SECOND], true, []])
})

test('a server that keeps failing is asked again after pauses, until the time is up', async () => {
  const { failover, clock } = world()
  let calls = 0
  const outcome = failover
    .retry(async () => {
      calls++
      throw new HopFailure(SECOND, new AppError('BUSY', 'Too many steps wait'))
    }, options())
    .catch((error: AppError) => error.code)
  await settle()
  const early = calls
  for (let i = 0; i < 600 && clock.pending > 0; i++) await clock.advance(100)
  expect(await outcome).toBe('BUSY')
  expect(calls).toBeGreaterThan(early)
  // Pauses: without them it would have been asked for ever within one turn of the clock.
  expect(calls).toBeLessThan(200)
  expect(clock.now()).toBeGreaterThanOrEqual(10_000)
})

test('blocks that nobody serves are looked for every now and then', async () => {
  const { failover, clock } = world()
  const missing = noRoute('Nobody serves blocks 2:4')
  let answer = 0
  void failover.retry(attempts(missing, missing), options()).then((calls) => (answer = calls))
  await settle()
  expect(answer).toBe(0)
  await clock.advance(300)
  await clock.advance(300)
  expect(answer).toBe(3)
})

test('what no server is to blame for is thrown at once, and what the session can adapt to is not', async () => {
  const { failover, peers } = world()
  const broken = new AppError('INTERNAL', 'A fault of ours')
  const code = await failover.retry(attempts(broken), options()).catch((e: AppError) => e.code)
  expect(code).toBe('INTERNAL')
  const wide = new HopFailure(FIRST, new AppError('UNSUPPORTED', 'Over the range of f16'))
  const adapted: string[] = []
  const adapt = (error: AppError): boolean => adapted.push(error.code) === 1
  expect(await failover.retry(attempts(wide), options({ adapt }))).toBe(2)
  expect([adapted, peers()]).toEqual([['UNSUPPORTED'], [FIRST, SECOND]])
})

test('after the signal nothing is mended any more', async () => {
  const { failover, peers } = world()
  const controller = new AbortController()
  const failing = async (): Promise<number> => {
    controller.abort()
    throw new HopFailure(FIRST, disconnected('killed'))
  }
  const thrown = await failover
    .retry(failing, options({ signal: controller.signal }))
    .catch((error: unknown) => error)
  expect([thrown instanceof HopFailure, peers()]).toEqual([true, [FIRST, SECOND]])
})
