// What a hostile peer may try against a server, each as one function over raw peers: for the tests
// and, many times over, for the soak script. Everything is drawn from a seed.
import type DHT from 'hyperdht'
import type { Random } from '../../../src/base/random.ts'
import { LIMITS, MESSAGE_TYPES } from '../../../src/wire/protocol.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import type { WireError } from '../../../src/wire/types.ts'
import { spoil } from './hostile.ts'
import {
  everyMessage,
  helloFrame,
  RawPeer,
  sessionId,
  stepOf,
  uint,
  type Target
} from './raw-peer.ts'

/** Where a connection stands when nonsense begins. */
export type Stage = 'before hello' | 'after hello' | 'session open' | 'mid-step'

export const STAGES: readonly Stage[] = ['before hello', 'after hello', 'session open', 'mid-step']

/** A connection taken to a stage, with the session that it speaks of. */
async function reach(dht: DHT, target: Target, stage: Stage, random: Random): Promise<Reached> {
  const peer = new RawPeer(dht, target)
  const session = sessionId(random)
  await peer.ready()
  if (stage === 'before hello') return { peer, session }
  peer.hello()
  if (stage === 'after hello') return { peer, session }
  peer.open(session)
  await peer.until(() => peer.count('opened') > 0)
  if (stage === 'mid-step') for (let step = 1; step < 6; step++) peer.step(session, step, 256)
  return { peer, session }
}

interface Reached {
  readonly peer: RawPeer
  readonly session: Uint8Array
}

/** Sends `frames` spoiled, random or misplaced frames, over as many connections as that takes. */
export async function fuzz(
  dht: DHT,
  target: Target,
  options: { stage: Stage; frames: number; random: Random }
): Promise<number> {
  const { stage, random } = options
  let connections = 0
  for (let left = options.frames; left > 0;) {
    const { peer, session } = await reach(dht, target, stage, random)
    connections++
    const messages = everyMessage(target, session)
    // A link ends at its 16th unreadable message; the ping tells when all before it were read.
    for (let burst = Math.min(left, 24); burst > 0 && !peer.closed; burst--) {
      const [type, bytes] = messages[random.below(messages.length)] ?? [0, new Uint8Array(1)]
      sendOne(peer, type, bytes, random)
      left--
    }
    peer.send('ping', { nonce: 77 })
    // Before hello nothing is answered: its connection just goes.
    if (stage !== 'before hello') await peer.until(() => peer.count('pong') > 0)
    peer.vanish()
  }
  return connections
}

function sendOne(peer: RawPeer, type: number, bytes: Uint8Array, random: Random): void {
  switch (random.below(8)) {
    case 0:
      // Whole, but perhaps out of place.
      return peer.bytes(type, bytes)
    case 1:
      return peer.bytes(type, noise(random))
    case 2:
      return peer.bytes(random.below(256), bytes)
    case 3:
      return peer.raw(random.below(2) === 0 ? noise(random) : spoil(helloFrame(), random))
    default:
      return peer.bytes(type, spoil(bytes, random, random.below(2) === 0 ? 48 : undefined))
  }
}

function noise(random: Random): Uint8Array {
  return Uint8Array.from({ length: 1 + random.below(200) }, () => random.below(256))
}

/** Connections that open a session, begin a step and go, `together` at a time. */
export async function vanish(
  dht: DHT,
  target: Target,
  options: { connections: number; together: number; random: Random }
): Promise<void> {
  let left = options.connections
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const peer = new RawPeer(dht, target)
      const session = sessionId(options.random)
      await peer.ready()
      peer.hello()
      peer.open(session)
      peer.step(session, 1, 64)
      // Some go while the opening is under way, some in the step.
      if (left % 2 === 0) await peer.until(() => peer.count('opened') + peer.count('error') > 0)
      peer.vanish()
    }
  }
  await Promise.all(Array.from({ length: options.together }, worker))
}

/** Connections that open a session each, begin a step and stay. */
export async function hold(
  dht: DHT,
  target: Target,
  options: { connections: number; random: Random }
): Promise<readonly RawPeer[]> {
  const peers: RawPeer[] = []
  while (peers.length < options.connections) {
    const { peer, session } = await reach(dht, target, 'session open', options.random)
    peer.step(session, 1, 64)
    peers.push(peer)
  }
  return peers
}

/**
 * A peer that asks for `answers` answers of 128 KiB and a pong each, and reads none; the caller
 * ends it.
 */
export async function readNothing(
  dht: DHT,
  target: Target,
  options: { answers: number; random: Random }
): Promise<RawPeer> {
  const { peer, session } = await reach(dht, target, 'session open', options.random)
  peer.pause()
  for (let step = 1; step <= options.answers; step++) {
    peer.step(session, step, 512)
    peer.send('ping', { nonce: step })
  }
  return peer
}

/** Claims beyond every limit, each alone; resolves to what the server answered to each. */
export async function claimTooMuch(
  dht: DHT,
  target: Target,
  random: Random
): Promise<Map<string, WireError['code'] | 'closed'>> {
  const answers = new Map<string, WireError['code'] | 'closed'>()
  for (const [name, bytes] of Object.entries(claims)) {
    const { peer, session } = await reach(dht, target, 'session open', random)
    const [type, message] = bytes(session, target)
    peer.bytes(type, message)
    await peer.until(() => peer.errors.length > 0)
    answers.set(name, peer.errors[0]?.code ?? 'closed')
    peer.vanish()
  }
  return answers
}

type Claim = (session: Uint8Array, target: Target) => [number, Uint8Array]

const MANY = 2 ** 40

function stepBytes(session: Uint8Array, middle: readonly Uint8Array[]): [number, Uint8Array] {
  return [MESSAGE_TYPES.step, Buffer.concat([uint(0), session, ...middle])]
}

/**
 * flags, session, step, kind, start, count, deadline, hops, dtype, rows, columns, length of values
 */
function claimed(
  numbers: Partial<Record<'start' | 'count' | 'hops' | 'rows' | 'columns', number>>
) {
  const { start = 0, count = 1, hops = 0, rows = 1, columns = 64 } = numbers
  const all = [1, 0, start, count, 1000, hops, 0, rows, columns, rows * columns * 4]
  return (session: Uint8Array): [number, Uint8Array] => stepBytes(session, all.map(uint))
}

function opening(maxTokens: number): Claim {
  return (_session, { model, blockCount }) => {
    const id = new Uint8Array(16).fill(9)
    const tail = [uint(0), uint(blockCount), uint(maxTokens)]
    return [MESSAGE_TYPES.open, Buffer.concat([uint(0), id, model, ...tail])]
  }
}

/** An opening whose optional field of marks claims so many. */
function asking(marks: number): Claim {
  return (_session, { model, blockCount }) => {
    const id = new Uint8Array(16).fill(9)
    const field = uint(marks)
    const tail = [uint(0), uint(blockCount), uint(64), uint(field.byteLength), field]
    return [MESSAGE_TYPES.open, Buffer.concat([uint(1), id, model, ...tail])]
  }
}

function keeping(marks: number): Claim {
  return (session) => [MESSAGE_TYPES.keep, Buffer.concat([uint(0), session, uint(1), uint(marks)])]
}

const claims: Readonly<Record<string, Claim>> = {
  rows: claimed({ rows: LIMITS.rows + 1, count: LIMITS.rows + 1 }),
  'many rows': claimed({ rows: MANY }),
  columns: claimed({ columns: LIMITS.columns + 1 }),
  'many columns': claimed({ columns: MANY }),
  'values of 256 MiB': claimed({ rows: LIMITS.rows, columns: LIMITS.columns }),
  count: claimed({ count: MANY }),
  start: claimed({ start: LIMITS.tokens + 1 }),
  hops: claimed({ hops: LIMITS.hops + 1 }),
  'many hops': claimed({ hops: MANY }),
  'tokens of a session': opening(LIMITS.tokens + 1),
  'names to ask for': asking(LIMITS.marks + 1),
  'many names to ask for': asking(MANY),
  'names to keep': keeping(LIMITS.marks + 1),
  'tokens over the model': opening(100_000)
}

/** One peer opens `sessions` sessions at once; the caller ends it. */
export async function flood(
  dht: DHT,
  target: Target,
  options: { sessions: number; random: Random }
): Promise<RawPeer> {
  const peer = new RawPeer(dht, target, createIdentity())
  await peer.ready()
  peer.hello()
  for (let i = 0; i < options.sessions; i++) peer.open(sessionId(options.random))
  await peer.until(() => peer.count('opened') + peer.errors.length >= options.sessions)
  return peer
}

/**
 * One session after another over one connection, each with a step behind its opening; what failed.
 */
export async function serialSessions(
  dht: DHT,
  target: Target,
  options: { sessions: number; random: Random }
): Promise<readonly WireError[]> {
  const peer = new RawPeer(dht, target)
  await peer.ready()
  peer.hello()
  for (let done = 1; done <= options.sessions && !peer.closed; done++) {
    const session = sessionId(options.random)
    peer.open(session)
    peer.send('step', stepOf(target, session, 1, 1 + options.random.below(32)))
    await peer.until(() => peer.count('result') + peer.errors.length >= done)
    peer.send('close', { session })
  }
  peer.vanish()
  if (peer.count('result') + peer.errors.length < options.sessions) {
    throw new Error(`The link ended after ${peer.count('result')} answers`)
  }
  return peer.errors
}
