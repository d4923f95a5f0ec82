import { expect, test } from 'bun:test'
import type { Clock } from '../../../src/base/clock.ts'
import { timedOut } from '../../../src/base/errors.ts'
import { History } from '../../../src/client/session/history.ts'
import { HopFailure, type Hop } from '../../../src/client/route/hop.ts'
import { Leg } from '../../../src/client/session/leg.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { Patience } from '../../../src/client/session/patience.ts'
import { Pulse } from '../../../src/client/session/pulse.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

test('limitMs() is the least limit for a near server, and grows with slow and swinging pongs', () => {
  const pulse = new Pulse(1200)
  for (let i = 0; i < 40; i++) {
    pulse.note('near', 1)
    pulse.note('slow', 900)
    pulse.note('swinging', i % 2 === 0 ? 100 : 900)
  }
  expect(pulse.limitMs('near')).toBe(1200)
  expect(pulse.limitMs('slow')).toBeCloseTo(1500, 0)
  expect(pulse.limitMs('swinging')).toBeGreaterThan(2300)
  expect(pulse.limitMs('never asked')).toBe(1200)
})

test('limitMs() grows when our own timers come late, up to a bound', () => {
  const pulse = new Pulse(1200)
  for (let i = 0; i < 40; i++) pulse.late(30)
  expect(pulse.limitMs('any')).toBeCloseTo(1800, 0)
  for (let i = 0; i < 40; i++) pulse.late(3000)
  expect(pulse.limitMs('any')).toBe(6000)
  for (let i = 0; i < 60; i++) pulse.late(0)
  expect(pulse.limitMs('any')).toBeCloseTo(1200, 0)
})

/** A leg of one step that nobody answers; `ping` is what the server does with one. */
function legOf(clock: Clock, ping: ClientLink['ping']): Leg {
  const inputs = new History(2, 'f32')
  inputs.write(0, encodeTensor(new Float32Array(2), 1, 2, 'f32'))
  const link: ClientLink = {
    peer: 'server',
    key: new Uint8Array(32),
    closed: false,
    open: () => {},
    step: () => {},
    cancel: () => {},
    keep: () => {},
    closeSession: () => {},
    ping
  }
  const hop: Hop = {
    link,
    start: 0,
    end: 2,
    inputs,
    quant: 'f32',
    kv: 0,
    named: 0,
    promised: 8,
    relay: false
  }
  return new Leg({
    session: new Uint8Array(16),
    hops: [hop],
    next: undefined,
    from: 0,
    to: 1,
    answerRows: 1,
    chunkRows: 8,
    window: 2,
    nextStep: () => 0,
    times: { silenceMs: 60_000, pingEveryMs: 400, pingMs: 1200 },
    pulse: new Pulse(1200),
    patience: new Patience(60_000),
    clock,
    signal: undefined
  })
}

/** What became of it, once it has. */
function outcome(leg: Leg): () => unknown {
  let failure: unknown
  leg.run().catch((error: unknown) => (failure = error))
  return () => failure
}

test('a leg gives a server up that answers no ping for two seconds', async () => {
  const clock = new FakeClock()
  const failure = outcome(legOf(clock, async () => Promise.reject(timedOut('no pong'))))
  await clock.advance(1200)
  expect(failure()).toBeUndefined()
  await clock.advance(800)
  expect(failure()).toBeInstanceOf(HopFailure)
})

test('a leg does not blame a server for a stall of this process', async () => {
  const fake = new FakeClock()
  let stalledMs = 0
  const clock: Clock = {
    now: () => fake.now() + stalledMs,
    wall: () => fake.wall(),
    after: (ms, callback) => fake.after(ms, callback)
  }
  let pongs: (() => void)[] = []
  const failure = outcome(
    legOf(clock, () => new Promise((resolve) => pongs.push(() => resolve(1))))
  )
  await fake.advance(600)
  // The pong is here, but a timer that was due long ago runs first.
  stalledMs = 30_000
  await fake.advance(200)
  for (const pong of pongs.splice(0)) pong()
  expect(failure()).toBeUndefined()
  pongs = []
  await fake.advance(8000)
  expect(failure()).toBeInstanceOf(HopFailure)
})
