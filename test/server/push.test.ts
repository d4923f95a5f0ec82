// Pushing to the next server: in order, and again when the connection turns out to be dead.
import { expect, test } from 'bun:test'
import { disconnected, timedOut } from '../../src/base/errors.ts'
import type { ServerLink } from '../../src/server/links.ts'
import { Pusher } from '../../src/server/sessions/push.ts'
import type { Step } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const HOP = { peer: new Uint8Array(32).fill(5), start: 2, end: 4 }

function stepOf(step: number): Step {
  const data = new Uint8Array(16)
  return {
    session: new Uint8Array(16),
    step,
    kind: 'forward',
    start: step,
    count: 1,
    deadlineMs: 60_000,
    route: [],
    tensor: { dtype: 'f32', rows: 1, columns: 4, data }
  }
}

/** Connections to one server, each alive or dead; what came over those that were alive. */
function world(alive: boolean[]) {
  const clock = new FakeClock()
  const arrived: number[] = []
  const errors: string[] = []
  let reached = -1
  let pings = 0
  const links = alive.map((isAlive): ServerLink & { gone: boolean } => ({
    gone: false,
    peer: 'next',
    opened: () => {},
    result: () => {},
    error: () => {},
    step: ({ step }) => void (isAlive && arrived.push(step)),
    ping: async (ms) => {
      pings++
      if (isAlive) return 1
      await new Promise<void>((resolve) => void clock.after(ms, resolve))
      throw timedOut('no pong')
    },
    destroy() {
      this.gone = true
    }
  }))
  const reach = async (): Promise<ServerLink> => {
    const open = links.find((link) => !link.gone)
    if (!open) throw disconnected('nobody is there')
    reached = links.indexOf(open)
    return open
  }
  const pusher = new Pusher(reach, { clock })
  const push = (step: number): void =>
    pusher.push(HOP, stepOf(step), (error) => void errors.push(error.code))
  const state = (): object => ({ arrived, errors, reached })
  return { clock, push, pusher, state, pings: () => pings }
}

test('push() keeps the order of steps and soon stops to ping', async () => {
  const { clock, push, state, pings } = world([true])
  for (const step of [1, 2, 3]) push(step)
  await clock.advance(1)
  expect(state()).toEqual({ arrived: [1, 2, 3], errors: [], reached: 0 })
  await clock.advance(60_000)
  expect([pings() <= 3, clock.pending]).toEqual([true, 0])
})

test('push() sends again over a new connection what went into a dead one, in order', async () => {
  const { clock, push, state } = world([false, true])
  push(1)
  await clock.advance(1000)
  push(2)
  await clock.advance(999)
  expect(state()).toEqual({ arrived: [], errors: [], reached: 0 })
  await clock.advance(10)
  expect(state()).toEqual({ arrived: [1, 2], errors: [], reached: 1 })
  push(3)
  await clock.advance(10_000)
  expect(state()).toEqual({ arrived: [1, 2, 3], errors: [], reached: 1 })
})

test('push() tells once of each step when nobody is there any more', async () => {
  const { clock, push, state } = world([false])
  push(1)
  push(2)
  await clock.advance(3000)
  expect(state()).toEqual({ arrived: [], errors: ['UNAVAILABLE', 'UNAVAILABLE'], reached: 0 })
})

test('push() gives up when a second connection is dead too', async () => {
  const { clock, push, state } = world([false, false, true])
  push(1)
  await clock.advance(6000)
  expect(state()).toEqual({ arrived: [], errors: ['UNAVAILABLE'], reached: 1 })
})

test('a pusher that is closed sends nothing again', async () => {
  const { clock, push, pusher, state } = world([false, true])
  push(1)
  await clock.advance(1)
  pusher.close()
  await clock.advance(10_000)
  expect([state(), clock.pending]).toEqual([{ arrived: [], errors: [], reached: 0 }, 0])
})
