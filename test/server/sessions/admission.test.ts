// Who may open a session, and what an address that fills a server leaves to others.
import { expect, test } from 'bun:test'
import { admit, leastUsed } from '../../../src/server/sessions/admission.ts'
import { BlockServer, type BlockServerOptions } from '../../../src/server/sessions/block-server.ts'
import type { ServerLink } from '../../../src/server/links.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { SessionOpened, Step, WireError } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'

const MODEL = new Uint8Array(32).fill(7)
const HIDDEN = 4
const limits = { sessionsPerPeer: 2, sessions: 4 }
const idle = {
  promisedTokens: 0,
  capacityTokens: 100,
  sessionsOfPeer: 0,
  sessions: 0,
  draining: false
}

test('admit() promises what is free and no more', () => {
  expect(admit(100, idle, limits)).toEqual({ kind: 'admit' })
  expect(admit(41, { ...idle, promisedTokens: 60 }, limits)).toEqual({
    kind: 'refuse',
    code: 'NO_MEMORY',
    why: '41 tokens were asked for, 40 of 100 are free',
    retryAfterMs: 5000
  })
})

test('admit() keeps the last eighth of the tokens from a peer that has half of them', () => {
  const large = { ...idle, capacityTokens: 80_000 }
  const verdict = (tokens: number, promisedTokens: number, promisedToPeer: number): string =>
    admit(tokens, { ...large, promisedTokens, promisedToPeer }, limits).kind
  expect([
    // Alone: all but the last eighth.
    verdict(70_000, 0, 0),
    verdict(70_001, 0, 0),
    verdict(1_000, 69_000, 69_000),
    verdict(1_001, 69_000, 69_000),
    // Another peer gets what is kept.
    verdict(10_000, 70_000, 0),
    verdict(10_001, 70_000, 0),
    // A growing session of one with little, on a full server.
    verdict(512, 79_000, 20_000)
  ]).toEqual(['admit', 'refuse', 'admit', 'refuse', 'admit', 'refuse', 'admit'])
})

test('admit() gives all tokens of a small server to whoever comes', () => {
  const small = { ...idle, capacityTokens: 4096 }
  expect(admit(4096, small, limits)).toEqual({ kind: 'admit' })
  expect(admit(4200, { ...idle, capacityTokens: 4200 }, limits).kind).toBe('refuse')
})

test('admit() limits sessions of one peer, of all, and when leaving', () => {
  const codes = [
    admit(1, { ...idle, sessionsOfPeer: 2 }, limits),
    admit(1, { ...idle, sessions: 4 }, limits),
    admit(1, { ...idle, draining: true }, limits)
  ].map((verdict) => (verdict.kind === 'refuse' ? verdict.code : 'admitted'))
  expect(codes).toEqual(['LIMIT', 'BUSY', 'BUSY'])
})

test('admit() leaves half of the sessions to other addresses, and tells when one is free', () => {
  const freeIn = { tokens: () => 1, session: () => 2, ofPeer: () => 3, ofHost: () => 4 }
  const state = { ...idle, sessions: 2, sessionsOfHost: 2, freeIn }
  expect(admit(1, state, limits)).toEqual({
    kind: 'refuse',
    code: 'BUSY',
    why: '2 sessions are open from this address',
    retryAfterMs: 4
  })
  expect(admit(1, { ...state, sessions: 3, sessionsOfHost: 1 }, limits)).toEqual({ kind: 'admit' })
})

test('leastUsed() names an idle session of the address and the peer with most', () => {
  const session = (
    peer: string,
    origin: string,
    idleMs: number
  ): { peer: string; origin: string; idleMs: number } => ({ peer, origin, idleMs })
  const all = [
    session('honest', 'a', 600_000),
    session('one', 'b', 70_000),
    session('two', 'b', 60_000),
    session('two', 'b', 61_000),
    session('two', 'b', 59_999)
  ]
  expect(leastUsed(all)).toEqual(session('two', 'b', 61_000))
  expect(leastUsed(all.filter(({ idleMs }) => idleMs < 60_000))).toBeUndefined()
})

class Peer implements ServerLink {
  readonly peer: string
  readonly host: string
  readonly openings: SessionOpened[] = []
  readonly errors: WireError[] = []

  constructor(peer: string, host: string) {
    this.peer = peer
    this.host = host
  }

  opened(message: SessionOpened): void {
    this.openings.push(message)
  }

  error(message: WireError): void {
    this.errors.push(message)
  }

  result(): void {}
  step(): void {}
}

function serve(more: Partial<BlockServerOptions>): BlockServer {
  const compute = new FakeCompute(HIDDEN)
  return new BlockServer({
    compute,
    span: compute.span(2, 4),
    model: MODEL,
    self: new Uint8Array(32).fill(1),
    capacityTokens: 80_000,
    reach: () => Promise.reject(new Error('nobody is there')),
    ...more
  })
}

function id(value: number): Uint8Array {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(value)
  return bytes
}

async function open(
  server: BlockServer,
  peer: Peer,
  session: number,
  maxTokens = 20
): Promise<void> {
  await server.open(peer, { session: id(session), model: MODEL, start: 2, end: 4, maxTokens })
}

function step(session: number): Step {
  return {
    session: id(session),
    step: 1,
    kind: 'forward',
    start: 0,
    count: 1,
    deadlineMs: 1000,
    route: [],
    tensor: encodeTensor(new Float32Array(HIDDEN), 1, HIDDEN, 'f32')
  }
}

function codes(peer: Peer): string[] {
  return peer.errors.map((error) => error.code)
}

test('a table full of sessions that nobody uses is told, and opens to who waits after a minute', async () => {
  const clock = new FakeClock()
  await using server = serve({ clock, limits: { sessionsPerPeer: 2, sessions: 4 } })
  const flood = [1, 2].map((n) => new Peer(`flood ${n}`, '192.0.2.1'))
  const others = [new Peer('b', '192.0.2.2'), new Peer('c', '192.0.2.3')]
  const late = new Peer('d', '192.0.2.4')
  let session = 0
  for (const peer of [...flood, ...others]) await open(server, peer, ++session)
  const told = server.freeTokens
  await open(server, late, 10)
  expect([told, codes(late)]).toEqual([0, ['BUSY']])
  await clock.advance(59_000)
  // Who has asked for something lately is not asked to go.
  for (const [i, peer] of others.entries()) void server.step(peer, step(i + 3))
  await clock.advance(1_000)
  expect(server.freeTokens).toBe(80_000 - 4 * 20)
  await open(server, late, 10)
  await open(server, new Peer('e', '192.0.2.5'), 11)
  await open(server, new Peer('f', '192.0.2.6'), 12)
  expect(late.openings.length).toBe(1)
  expect(server.sessions.all().map(({ owner }) => owner.peer)).toEqual(['b', 'c', 'd', 'e'])
})

test('peers of one address have half of the sessions at most', async () => {
  await using server = serve({})
  const honest = new Peer('honest', '192.0.2.2')
  const peers = Array.from({ length: 16 }, (_, n) => new Peer(`flood ${n}`, '192.0.2.1'))
  for (let n = 0; n < 256; n++) await open(server, peers[n % 16] ?? honest, n, 1)
  await open(server, honest, 999)
  expect([server.sessions.size, honest.openings.length]).toEqual([129, 1])
  expect(peers.flatMap(codes)).toEqual(Array.from({ length: 128 }, () => 'BUSY'))
})
