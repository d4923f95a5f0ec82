// Opening a session on one server: what is asked, how long is waited, and what is left as it was.
import { expect, test } from 'bun:test'
import { busy, disconnected, timedOut } from '../../../src/base/errors.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { HopFailure } from '../../../src/client/session/hop-failure.ts'
import { Opener, type OpenerOptions } from '../../../src/client/session/opener.ts'
import { SessionAdapters } from '../../../src/client/session/session-adapters.ts'
import { AdapterPack } from '../../../src/weights/adapters/adapter-pack.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { toWire } from '../../../src/wire/peer-error.ts'
import type { OpenSession } from '../../../src/wire/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'

const PEER = 'ab'.repeat(32)
const SPAN = { peer: PEER, start: 2, end: 4 }
const IDLE = { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }

function world(
  connect?: (timeoutMs: number) => Promise<ClientLink>,
  more: Partial<OpenerOptions> = {}
) {
  const clock = new FakeClock()
  const state = { opens: [] as OpenSession[], closes: 0, awaits: 0, closed: false }
  const link: ClientLink = {
    peer: PEER,
    key: new Uint8Array(32).fill(0xab),
    get closed() {
      return state.closed
    },
    open: (message) => void state.opens.push(message),
    step: () => {},
    cancel: () => {},
    keep: () => {},
    closeSession: () => void state.closes++,
    ping: async () => 1,
    awaited: () => {
      state.awaits++
      return () => void state.awaits--
    }
  }
  const book = new PeerBook()
  const opener = new Opener({
    session: new Uint8Array(16),
    connections: {
      connect: async (_peer, _signal, timeoutMs) => (connect ? connect(timeoutMs) : link),
      listen: () => () => {}
    },
    book,
    model: new Uint8Array(32),
    clock,
    ...more
  })
  const { signal } = new AbortController()
  const enter = (): (() => unknown) => {
    let outcome: unknown
    opener.enter(SPAN, { maxTokens: 64, signal }).then(
      (opened) => (outcome = opened),
      (error: unknown) => (outcome = error)
    )
    return () => outcome
  }
  return { clock, state, link, book, opener, enter }
}

test('enter() opens the session and measures the round trip', async () => {
  const { clock, state, link, book, opener, enter } = world()
  const outcome = enter()
  await settle()
  expect(state.opens).toMatchObject([{ start: 2, end: 4, maxTokens: 64 }])
  await clock.advance(30)
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE })
  await settle()
  expect([outcome(), book.rttMs(PEER), state.awaits, state.closes]).toEqual([
    { link, held: 0 },
    30,
    0,
    0
  ])
})

test('a slow opening ends with the session alone: its link is for other sessions, too', async () => {
  const { clock, state, enter } = world()
  const outcome = enter()
  await clock.advance(2400)
  expect([outcome(), state.awaits]).toEqual([undefined, 1])
  await clock.advance(200)
  expect(outcome()).toBeInstanceOf(HopFailure)
  expect(outcome()).toMatchObject({ error: { code: 'TIMEOUT' }, hung: true })
  expect([state.closes, state.closed, state.awaits]).toEqual([1, false, 0])
})

test('a server that took too long once gets more time', async () => {
  const { clock, link, opener, enter } = world()
  enter()
  await clock.advance(3000)
  const outcome = enter()
  await clock.advance(8000)
  expect(outcome()).toBeUndefined()
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE })
  await settle()
  expect(outcome()).toMatchObject({ held: 0 })
})

test('a link that ends while it is waited for fails the opening at once', async () => {
  const { state, link, opener, enter } = world()
  const outcome = enter()
  await settle()
  state.closed = true
  opener.ondisconnect(link, timedOut('The peer is silent for 1400 ms'))
  await settle()
  expect(outcome()).toMatchObject({ error: { code: 'TIMEOUT' }, hung: false })
})

test('a refusal is passed on as it is', async () => {
  const { link, opener, enter } = world()
  const outcome = enter()
  await settle()
  opener.onerror(link, toWire(disconnected('no'), { session: new Uint8Array(16) }))
  await settle()
  expect(outcome()).toMatchObject({ peer: PEER, error: { code: 'DISCONNECTED', message: 'no' } })
})

for (const [why, cause, hint] of [
  ['is gone', disconnected('Peer abab is gone'), 'Start another: petals join MODEL --blocks 2:4'],
  ['does not answer', timedOut('2500 ms have passed'), 'the network may be slow or block UDP'],
  ['is behind a NAT', disconnected('no way', { hint: 'forward a port' }), 'forward a port']
] as const) {
  test(`a server that ${why} leaves its blocks without a route, and the error says so`, async () => {
    const { enter } = world(async () => Promise.reject(cause))
    const outcome = enter()
    await settle()
    expect(outcome()).toMatchObject({
      error: {
        code: 'NO_ROUTE',
        message: `No route through the model: no server of blocks 2:4 can be reached (${cause.message})`,
        hint: expect.stringContaining(hint),
        cause
      }
    })
  })
}

test('while a way through NATs is made the limit for reaching a server is not ours', async () => {
  const limits: number[] = []
  const reaching = Promise.withResolvers<ClientLink>()
  const { clock, state, link, enter } = world((timeoutMs) => {
    limits.push(timeoutMs)
    return reaching.promise
  })
  const outcome = enter()
  await clock.advance(25_000)
  expect([limits, outcome()]).toEqual([[2_500], undefined])
  reaching.resolve(link)
  await settle()
  expect(state.opens.length).toBe(1)
})

test('tokens that nobody asked for are a lie', async () => {
  const { link, opener, enter } = world()
  const outcome = enter()
  await settle()
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE, held: 40 })
  await settle()
  expect(outcome()).toMatchObject({ error: { code: 'PROTOCOL' } })
})

test('warmUp() puts servers that answer before strangers, and those that do not behind', async () => {
  const { clock, book, opener } = world()
  opener.warmUp([PEER])
  await settle()
  expect([book.rttMs(PEER), book.avoided(clock.now()).size]).toEqual([1, 0])
  const gone = world(async () => Promise.reject(disconnected('It is gone')))
  gone.opener.warmUp([PEER])
  await settle()
  expect([...gone.book.avoided(gone.clock.now())]).toEqual([PEER])
  expect(gone.book.rttMs(PEER)).toBeUndefined()
  const full = world(async () => Promise.reject(busy('Others are being tried')))
  full.opener.warmUp([PEER])
  await settle()
  expect(full.book.avoided(full.clock.now()).size).toBe(0)
})

test('a server that is reached later than was waited for is not avoided from then on', async () => {
  let late = true
  const { clock, link, book, enter } = world(async (timeoutMs) => {
    await new Promise<void>((resolve) => void clock.after(late ? timeoutMs : 400, resolve))
    if (!late) return link
    late = false
    throw timedOut('Connecting did not finish')
  })
  const outcome = enter()
  await clock.advance(2500)
  expect(outcome()).toBeInstanceOf(HopFailure)
  book.avoid(PEER, clock.now() + 30_000, clock.wall())
  await clock.advance(500)
  expect([book.avoided(clock.now()).size, book.rttMs(PEER)]).toEqual([0, 1])
})

const stories = await openModel(storiesLocation)
stories.close()
const pack = new AdapterPack(
  { prompt: new Float32Array(stories.config.hiddenSize).fill(1) },
  { config: stories.config, contentId: new Uint8Array(32) }
)
const adapters = new SessionAdapters([{ pack }])

test('a server that does not say that it uses the adapters is left', async () => {
  const { state, link, opener, enter } = world(undefined, { adapters })
  const outcome = enter()
  await settle()
  expect(state.opens).toMatchObject([{ adapters: [{ id: pack.id, weight: 1 }] }])
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE })
  await settle()
  expect(outcome()).toMatchObject({ error: { code: 'UNSUPPORTED' } })
  expect(state.closes).toBe(1)
  const again = enter()
  await settle()
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE, adapted: true })
  await settle()
  expect(again()).toMatchObject({ held: 0 })
})

test('a server is waited for as long as it is being given adapters', async () => {
  let gaveAt = 0
  const { clock, link, opener, enter } = world(undefined, {
    adapters,
    isGivingTo: (_, since) => gaveAt >= since
  })
  const outcome = enter()
  for (let i = 0; i < 9; i++) {
    await clock.advance(2000)
    gaveAt = clock.now()
  }
  expect(outcome()).toBeUndefined()
  opener.onopened(link, { session: new Uint8Array(16), status: IDLE, adapted: true })
  await settle()
  expect(outcome()).toMatchObject({ held: 0 })
  const silent = enter()
  await clock.advance(30_000)
  expect(silent()).toMatchObject({ error: { code: 'TIMEOUT' } })
})
