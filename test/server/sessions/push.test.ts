// Pushing to the next server: in order, within bounds, and again when a link turns out to be dead.
import { expect, test } from 'bun:test'
import { disconnected, timedOut, type AppError } from '../../../src/base/errors.ts'
import type { ServerLink } from '../../../src/server/links.ts'
import { Pusher } from '../../../src/server/sessions/push.ts'
import type { Step } from '../../../src/wire/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'

const HOP = { peer: new Uint8Array(32).fill(5), start: 2, end: 4 }
const SESSION = new Uint8Array(16)
const MIB = 1024 * 1024

function stepOf(step: number, bytes = 16, session = SESSION): Step {
  const tensor = { dtype: 'f32', rows: 1, columns: bytes / 4, data: new Uint8Array(bytes) } as const
  const more = { deadlineMs: 60_000, route: [], tensor }
  return { session, step, kind: 'forward', start: step, count: 1, ...more }
}

/** A link to the next server that a test fills, proves and kills. */
class FakeLink implements ServerLink {
  readonly peer = 'next'
  readonly arrived: number[] = []
  readonly deadlines: number[] = []
  full = false
  gone = false
  #room = Promise.withResolvers<void>()
  #proof = Promise.withResolvers<number>()
  proofs = 0
  #asked = false

  constructor() {
    // Nobody may wait for them when the link is killed.
    this.#room.promise.catch(() => {})
  }

  opened(): void {}
  result(): void {}
  error(): void {}

  step({ step, deadlineMs }: Step): boolean {
    this.arrived.push(step)
    this.deadlines.push(deadlineMs)
    return !this.full
  }

  drained(): Promise<void> {
    return this.#room.promise
  }

  proven(): Promise<number> {
    this.proofs++
    this.#asked = true
    return this.#proof.promise
  }

  clear(): void {
    this.full = false
    this.#room.resolve()
  }

  prove(at: number): void {
    this.#proof.resolve(at)
    this.#proof = Promise.withResolvers()
  }

  kill(error: AppError = timedOut('The peer is silent')): void {
    this.gone = true
    this.#room.reject(error)
    if (this.#asked) this.#proof.reject(error)
  }
}

function world(count: number) {
  const clock = new FakeClock()
  const errors: string[] = []
  const links = Array.from({ length: count }, () => new FakeLink())
  const reach = async (): Promise<ServerLink> => {
    const open = links.find((link) => !link.gone)
    if (!open) throw disconnected('nobody is there')
    return open
  }
  const pusher = new Pusher(reach, { clock })
  const push = (...steps: (number | Step)[]): void => {
    for (const one of steps) {
      const step = typeof one === 'number' ? stepOf(one) : one
      pusher.push(HOP, step, (error) => void errors.push(`${step.step} ${error.code}`))
    }
  }
  const arrived = (): number[][] => links.map((link) => link.arrived)
  const [first = new FakeLink(), second = new FakeLink()] = links
  return { clock, errors, pusher, push, arrived, first, second }
}

test('push() keeps the order of steps, and asks for no proof of nothing', async () => {
  const { clock, push, arrived, first, errors } = world(1)
  push(1, 2, 3)
  await clock.advance(5)
  expect({ arrived: arrived(), errors }).toEqual({ arrived: [[1, 2, 3]], errors: [] })
  first.prove(1)
  await settle()
  expect(first.proofs).toBe(1)
})

test('push() sends again over a new link what a dead one may not have delivered, in order', async () => {
  const { clock, push, arrived, first, second, errors } = world(2)
  push(1, 2)
  await clock.advance(100)
  push(3)
  await clock.advance(1)
  first.prove(50)
  await settle()
  push(4)
  await settle()
  first.kill()
  await settle()
  push(5)
  await settle()
  expect({ arrived: arrived(), errors }).toEqual({
    arrived: [
      [1, 2, 3, 4],
      [3, 4, 5]
    ],
    errors: []
  })
  second.prove(1000)
  await settle()
  expect(second.proofs).toBe(1)
})

test('push() tells once of each step when nobody is there any more', async () => {
  const { push, first, errors } = world(1)
  push(1, 2)
  await settle()
  first.kill()
  await settle()
  expect(errors).toEqual(['1 UNAVAILABLE', '2 UNAVAILABLE'])
})

test('push() gives up when a second link is dead too', async () => {
  const { push, arrived, first, second, errors } = world(3)
  push(1)
  await settle()
  first.kill()
  await settle()
  second.kill()
  await settle()
  expect({ arrived: arrived(), errors }).toEqual({
    arrived: [[1], [1], []],
    errors: ['1 UNAVAILABLE']
  })
})

test('push() lets no more wait for one server than two of the largest steps', async () => {
  const { push, arrived, first, errors } = world(1)
  first.full = true
  push(...Array.from({ length: 100 }, (_, i) => stepOf(i, MIB)))
  await settle()
  expect(arrived()).toEqual([[0]])
  expect(errors).toEqual(Array.from({ length: 84 }, (_, i) => `${i + 16} UNAVAILABLE`))
  first.clear()
  await settle()
  expect(arrived()).toEqual([Array.from({ length: 16 }, (_, i) => i)])
})

test('push() bounds what waits and is kept for all servers together', async () => {
  const { pusher, errors } = world(0)
  for (let peer = 0; peer < 12; peer++) {
    const hop = { ...HOP, peer: new Uint8Array(32).fill(peer) }
    for (let i = 0; i < 2; i++) {
      pusher.push(hop, stepOf(peer, 8 * MIB), ({ message }) => void errors.push(message))
    }
  }
  expect(errors.length).toBe(24 - 16)
})

test('push() sends what a full link that died had taken before what waited for it', async () => {
  const { push, arrived, first } = world(2)
  push(1)
  await settle()
  first.full = true
  push(2)
  await settle()
  push(3, 4)
  await settle()
  first.kill()
  await settle()
  expect(arrived()).toEqual([
    [1, 2],
    [1, 2, 3, 4]
  ])
})

test('forget() drops what waits, and what would be sent again', async () => {
  const { push, pusher, arrived, first, errors } = world(2)
  const other = new Uint8Array(16).fill(9)
  first.full = true
  push(1, 2, 3, stepOf(7, 16, other))
  await settle()
  pusher.forget(SESSION, 2)
  first.kill()
  await settle()
  expect({ arrived: arrived(), errors }).toEqual({ arrived: [[1], [3, 7]], errors: [] })
  pusher.forget(SESSION)
})

test('push() counts down a deadline while the step waits, and does not send what is past it', async () => {
  const { clock, push, first, errors } = world(1)
  first.full = true
  push(1, { ...stepOf(2), deadlineMs: 500 }, { ...stepOf(3), deadlineMs: 2000 })
  await clock.advance(600)
  first.clear()
  await settle()
  expect({ arrived: first.arrived, deadlines: first.deadlines, errors }).toEqual({
    arrived: [1, 3],
    deadlines: [60_000, 1400],
    errors: ['2 TIMEOUT']
  })
})

test('a pusher that is closed sends nothing again', async () => {
  const { clock, push, pusher, arrived, first, errors } = world(2)
  push(1)
  await settle()
  pusher.close()
  first.kill()
  await clock.advance(10_000)
  expect({ arrived: arrived(), errors, timers: clock.pending }).toEqual({
    arrived: [[1], []],
    errors: [],
    timers: 0
  })
})
