// Attempts to reach peers: one for all who ask, one punch through random NATs at a time, and words
// for what went wrong that a user can act on. The DHT is a fake.
import { expect, test } from 'bun:test'
import { EventEmitter } from 'node:events'
import type DHT from 'hyperdht'
import type { AppError } from '../../src/base/errors.ts'
import { disconnected } from '../../src/base/errors.ts'
import { ATTEMPT_MS, Dialer, PUNCH_EVERY_MS } from '../../src/swarm/dialer.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import type { PeerLink } from '../../src/wire/link.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const CONSISTENT = 2
const RANDOM = 3

/** A stream as hyperdht gives one: ends with one of its codes, or becomes a link. */
class FakeDial extends EventEmitter {
  readonly peer: string
  readonly holepunch: (remote: number, own: number) => boolean
  readonly ready = Promise.withResolvers<void>()

  constructor(key: Uint8Array, options: DHT.ConnectOptions) {
    super()
    this.peer = Buffer.from(key).toString('hex')
    this.holepunch = options.holepunch ?? (() => true)
    this.ready.promise.catch(() => {})
  }

  fail(code: string): void {
    this.emit('error', Object.assign(new Error(code), { code }))
    this.emit('close')
    this.ready.reject(disconnected(code))
  }
}

class World {
  readonly clock = new FakeClock()
  readonly dials: FakeDial[] = []
  readonly dialer: Dialer

  constructor() {
    const dht = {
      randomized: false,
      connect: (key: Uint8Array, options: DHT.ConnectOptions) => {
        const dial = new FakeDial(key, options)
        this.dials.push(dial)
        return dial
      }
    }
    this.dialer = new Dialer({
      dht: dht as unknown as DHT,
      clock: this.clock,
      identity: createIdentity(new Uint8Array(32).fill(1)),
      relayThrough: null,
      open: (stream) => {
        const { peer, ready } = stream as unknown as FakeDial
        return { peer, ready: () => ready.promise, destroy: () => {} } as unknown as PeerLink
      }
    })
  }

  connect(peer: number, timeoutMs: number): Promise<string> {
    const key = new Uint8Array(32).fill(peer)
    return this.dialer.connect(idOf(peer), key, { timeoutMs }).then(
      () => 'linked',
      ({ code, message, hint }: AppError) => [code, message, hint ?? ''].join(' | ')
    )
  }

  /** The last dial to a peer says hello. */
  hello(peer: number): void {
    this.dialer.onready({ peer: idOf(peer) } as PeerLink)
  }

  dialsTo(peer: number): FakeDial[] {
    return this.dials.filter((dial) => dial.peer === idOf(peer))
  }
}

function idOf(peer: number): string {
  return Buffer.alloc(32, peer).toString('hex')
}

test('punches through random NATs for one peer at a time, the others in turn', async () => {
  const world = new World()
  const reached = [1, 2, 3].map((peer) => world.connect(peer, 12_000))
  const [one, two, three] = world.dials
  expect([one, two, three].map((dial) => dial?.holepunch(RANDOM, CONSISTENT))).toEqual([
    true,
    false,
    false
  ])
  // hyperdht ends those that were not let.
  two?.fail('HOLEPUNCH_ABORTED')
  three?.fail('HOLEPUNCH_ABORTED')
  // Nobody's time runs out while another is punched for.
  await world.clock.advance(13_000)
  expect(world.dials.length).toBe(3)
  world.hello(1)
  await world.clock.advance(PUNCH_EVERY_MS)
  expect(world.dialsTo(2).length).toBe(2)
  expect(world.dialsTo(2)[1]?.holepunch(RANDOM, CONSISTENT)).toBe(true)
  world.hello(2)
  await world.clock.advance(PUNCH_EVERY_MS)
  expect(world.dialsTo(3)[1]?.holepunch(CONSISTENT, RANDOM)).toBe(true)
  world.hello(3)
  expect(await Promise.all(reached)).toEqual(['linked', 'linked', 'linked'])
})

test('tries again a server that is punching for somebody else', async () => {
  const world = new World()
  const reached = world.connect(1, 12_000)
  expect(world.dials[0]?.holepunch(RANDOM, CONSISTENT)).toBe(true)
  world.dials[0]?.fail('REMOTE_ABORTED')
  await world.clock.advance(PUNCH_EVERY_MS)
  expect(world.dials[1]?.holepunch(RANDOM, CONSISTENT)).toBe(true)
  world.hello(1)
  expect(await reached).toBe('linked')
})

test('gives a peer up that no punching reaches, and lets the next one try', async () => {
  const world = new World()
  const reached = [1, 2].map((peer) => world.connect(peer, 5_000))
  for (const dial of world.dials) dial.holepunch(RANDOM, CONSISTENT)
  world.dials[1]?.fail('HOLEPUNCH_ABORTED')
  await world.clock.advance(ATTEMPT_MS + PUNCH_EVERY_MS)
  world.hello(2)
  expect(await Promise.all(reached)).toEqual([
    'TIMEOUT | Peer 01010101 does not answer | ',
    'linked'
  ])
})

test('says whether it is the NATs, the network, or that the peer is gone', async () => {
  const world = new World()
  const codes = ['HOLEPUNCH_DOUBLE_RANDOMIZED_NATS', 'PEER_NOT_FOUND', 'ECONNRESET']
  const reached = codes.map((_, i) => world.connect(i + 1, 5_000))
  for (const [i, code] of codes.entries()) world.dials[i]?.fail(code)
  const slow = world.connect(9, 5_000)
  await world.clock.advance(5_000)
  expect(await Promise.all([...reached, slow])).toEqual([
    'DISCONNECTED | Peer 01010101 cannot be reached: no way through the NATs was found | ' +
      'One side needs a UDP port that its router forwards: --port there, on the server',
    'DISCONNECTED | Peer 02020202 is gone: nobody in the DHT reaches it | ',
    'DISCONNECTED | Peer 03030303 cannot be reached: ECONNRESET | ',
    'TIMEOUT | Connecting to peer 09090909 did not finish: 5000 ms have passed | '
  ])
})
