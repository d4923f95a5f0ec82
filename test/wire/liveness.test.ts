// When a link's other end counts as gone: pings on a clock that a test moves.
import { describe, expect, test } from 'bun:test'
import type { Clock } from '../../src/base/clock.ts'
import { closed, type AppError } from '../../src/base/errors.ts'
import { Liveness } from '../../src/wire/liveness.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

/** A peer that answers pings after `pongMs`, or never. */
function world(options: { pongMs?: number | undefined; clock?: Clock; fake?: FakeClock } = {}) {
  const fake = options.fake ?? new FakeClock()
  const state = { pongMs: options.pongMs, sent: 0, heard: 0, pings: 0 }
  const silent: AppError[] = []
  const liveness = new Liveness({
    clock: options.clock ?? fake,
    send: (nonce) => {
      state.pings++
      if (state.pongMs !== undefined) fake.after(state.pongMs, () => liveness.pong(nonce))
    },
    sentBytes: () => state.sent,
    heardBytes: () => state.heard,
    onsilent: (error) => void silent.push(error)
  })
  return { clock: fake, liveness, state, silent }
}

describe('awaited()', () => {
  test('gives a peer up that answers no ping', async () => {
    const { clock, liveness, silent } = world()
    liveness.awaited()
    await clock.advance(1200)
    expect(silent).toEqual([])
    await clock.advance(800)
    expect(silent.map(({ code }) => code)).toEqual(['TIMEOUT'])
    expect(clock.pending).toBe(0)
  })

  test('sends no ping when nobody waits, and one each 400 ms for all who do', async () => {
    const { clock, liveness, state, silent } = world({ pongMs: 1 })
    await clock.advance(10_000)
    expect(state.pings).toBe(0)
    const stops = Array.from({ length: 16 }, () => liveness.awaited())
    await clock.advance(4000)
    expect(state.pings).toBe(10)
    for (const stop of stops) {
      stop()
      stop()
    }
    await clock.advance(4000)
    expect({ pings: state.pings, timers: clock.pending, silent }).toEqual({
      pings: 10,
      timers: 0,
      silent: []
    })
  })

  test('does not judge by pings of an earlier wait', async () => {
    const { clock, liveness, state, silent } = world()
    liveness.awaited()()
    const stop = liveness.awaited()
    await clock.advance(500)
    stop()
    await clock.advance(60_000)
    state.pongMs = 1
    liveness.awaited()
    await clock.advance(5000)
    expect(silent).toEqual([])
  })

  test('one pong proves all pings before it, also those that were never answered', async () => {
    const { clock, liveness, state, silent } = world()
    liveness.awaited()
    // For 8 s the peer is heard every second while its pongs stay away.
    for (let second = 0; second < 8; second++) {
      state.heard += 1000
      await clock.advance(1000)
    }
    state.pongMs = 1
    await clock.advance(400)
    await clock.advance(3000)
    expect(silent).toEqual([])
  })

  test('gives a peer up after the last thing that was heard of it', async () => {
    const { clock, liveness, state, silent } = world()
    liveness.awaited()
    for (let second = 0; second < 8; second++) {
      state.heard += 1000
      await clock.advance(1000)
    }
    await clock.advance(400)
    expect(silent).toEqual([])
    await clock.advance(400)
    expect(silent.length).toBe(1)
  })

  test('learns from slow pongs how long to wait', async () => {
    const { clock, liveness, state, silent } = world({ pongMs: 1000 })
    liveness.awaited()
    await clock.advance(20_000)
    expect(liveness.rttMs).toBeCloseTo(1000, 0)
    state.pongMs = 1500
    await clock.advance(20_000)
    expect(silent).toEqual([])
  })

  test('waits longer for a ping behind many bytes, by the rate that was seen', async () => {
    const slow = world()
    slow.state.sent = 1_000_000
    slow.liveness.awaited()
    await slow.clock.advance(5400)
    expect(slow.silent).toEqual([])
    await slow.clock.advance(600)
    expect(slow.silent.length).toBe(1)

    const fast = world({ pongMs: 10 })
    fast.state.sent = 1_000_000
    fast.liveness.awaited()
    await fast.clock.advance(500)
    fast.state.pongMs = undefined
    fast.state.sent += 1_000_000
    await fast.clock.advance(2400)
    expect(fast.silent.length).toBe(1)
  })

  test('does not blame the peer for a stall of this process', async () => {
    const fake = new FakeClock()
    let stalledMs = 0
    const clock: Clock = {
      now: () => fake.now() + stalledMs,
      wall: () => fake.wall(),
      after: (ms, callback) => fake.after(ms, callback)
    }
    const { liveness, state, silent } = world({ pongMs: 300, clock, fake })
    liveness.awaited()
    await fake.advance(600)
    // The pong is here, but a timer that was due long ago runs first.
    stalledMs = 30_000
    await fake.advance(1000)
    expect(silent).toEqual([])
    state.pongMs = undefined
    await fake.advance(8000)
    expect(silent.length).toBe(1)
  })

  test('does not judge while this end does not read', async () => {
    const { clock, liveness, silent } = world()
    liveness.awaited()
    liveness.hold(true)
    await clock.advance(30_000)
    expect(silent).toEqual([])
    liveness.hold(false)
    await clock.advance(2000)
    expect(silent.length).toBe(1)
  })
})

describe('proven()', () => {
  test('resolves with the time of the first ping after what was sent', async () => {
    const { clock, liveness, state } = world()
    liveness.awaited()
    await clock.advance(500)
    let provenAt: number | undefined
    void liveness.proven().then((at) => (provenAt = at))
    // The answer to the ping at 400 ms says nothing of what was sent at 500.
    liveness.pong(0)
    await clock.advance(1)
    expect(provenAt).toBeUndefined()
    state.pongMs = 1
    await clock.advance(400)
    expect(provenAt).toBe(800)
  })

  test('waits by itself, and no longer than it must', async () => {
    const { clock, liveness, state } = world({ pongMs: 1 })
    const proven = liveness.proven()
    await clock.advance(401)
    expect(await proven).toBe(400)
    await clock.advance(60_000)
    expect([state.pings, clock.pending]).toEqual([1, 0])
  })

  test('rejects with what ended the link', async () => {
    const { liveness } = world()
    const before = liveness.proven().catch(({ code }: AppError) => code)
    liveness.end(closed('over'))
    expect(await before).toBe('CLOSED')
    expect(await liveness.proven().catch(({ code }: AppError) => code)).toBe('CLOSED')
  })
})

describe('measure()', () => {
  test('gives the round trip, and counts for those who wait', async () => {
    const { clock, liveness } = world({ pongMs: 30 })
    const ping = liveness.measure(1000)
    await clock.advance(30)
    expect(await ping).toBe(30)
    expect(liveness.rttMs).toBe(30)
  })

  test('may run any number of times at once', async () => {
    const { clock, liveness } = world({ pongMs: 30 })
    const pings = Array.from({ length: 200 }, () => liveness.measure(1000))
    await clock.advance(30)
    expect(new Set(await Promise.all(pings))).toEqual(new Set([30]))
  })
})
