// A real server process of a real model beside which an honest client works, while hostile peers
// send nonsense, vanish, read nothing, claim too much and flood. The honest client must see nothing
// of it, and afterwards nothing of it may be left. scripts/prove/soak.ts is the long version.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import DHT from 'hyperdht'
import { seededRandom } from '../../src/base/random.ts'
import { startBootstrap, type Bootstrap } from '../../src/swarm/dht/bootstrap.ts'
import * as attacks from '../support/hostile/attacks.ts'
import { HonestClient } from '../support/hostile/honest-client.ts'
import { HostProgram } from '../support/host-program.ts'
import { targetOf, type Target } from '../support/hostile/raw-peer.ts'
import type { HostState } from './host-process.ts'

const MIB = 1024 * 1024
const random = seededRandom(12)
let bootstrap: Bootstrap
let host: HostProgram
let dht: DHT
let target: Target
let honest: HonestClient
let idle: HostState

beforeAll(async () => {
  bootstrap = await startBootstrap({ port: 0 })
  host = await HostProgram.start(bootstrap.port)
  const address = { host: bootstrap.host, port: bootstrap.port }
  dht = new DHT({ bootstrap: [address], host: '127.0.0.1', firewalled: false })
  await dht.fullyBootstrapped()
  target = await targetOf(host.key)
  honest = await HonestClient.start(address)
  await honest.ask(0)
  // Everything is in use once before memory is looked at.
  await attacks.vanish(dht, target, { connections: 40, together: 10, random })
  for (const stage of attacks.STAGES) await attacks.fuzz(dht, target, { stage, frames: 48, random })
  await attacks.claimTooMuch(dht, target, random)
  const peers = [
    await attacks.readNothing(dht, target, { answers: 40, random }),
    await attacks.flood(dht, target, { sessions: 100, random })
  ]
  await host.until((state) => state.queue === 0, 60_000)
  for (const peer of peers) peer.vanish()
  idle = await settled()
}, 120_000)

afterAll(async () => {
  await honest?.[Symbol.asyncDispose]()
  await host?.[Symbol.asyncDispose]()
  await dht?.destroy({ force: true })
  await bootstrap?.close()
})

/** When only the honest client's link is left and nothing of anybody's. */
function settled(): Promise<HostState> {
  return host.until(
    (state) =>
      state.sessions + state.promisedTokens + state.queue === 0 &&
      state.engineSessions === state.keptPrefixes &&
      state.links <= 1,
    60_000
  )
}

/** Runs an attack while the honest client asks, and lets all its answers come in. */
async function beside<T>(attack: () => Promise<T>): Promise<T> {
  const before = honest.answers
  const over = new AbortController()
  const asking = honest.askUntil(over.signal)
  asking.catch(() => {})
  try {
    return await attack()
  } finally {
    over.abort()
    await asking
    expect(honest.answers).toBeGreaterThan(before)
    // A busy machine may keep a server silent; anything else would be the attack's doing.
    expect(honest.reroutes.filter((why) => !why.startsWith('TIMEOUT'))).toEqual([])
  }
}

for (const stage of attacks.STAGES) {
  test(`nonsense ${stage} disturbs nobody`, async () => {
    await beside(() => attacks.fuzz(dht, target, { stage, frames: 240, random }))
    await settled()
  }, 120_000)
}

test('200 connections that open a session, begin a step and vanish leave nothing', async () => {
  await beside(() => attacks.vanish(dht, target, { connections: 200, together: 10, random }))
  await settled()
}, 120_000)

test('a peer that never reads costs no more than its answers, until it goes', async () => {
  await beside(async () => {
    const peer = await attacks.readNothing(dht, target, { answers: 40, random })
    // The honest client may always have a step there.
    const full = await host.until((state) => state.queue <= 1, 100_000)
    expect(full.rssBytes - idle.rssBytes).toBeLessThan(128 * MIB)
    peer.vanish()
  })
  await settled()
}, 180_000)

test('claims beyond the limits are refused by their numbers alone', async () => {
  const answers = await beside(() => attacks.claimTooMuch(dht, target, random))
  expect(Object.fromEntries(answers)).toEqual({
    rows: 'LIMIT',
    'many rows': 'LIMIT',
    columns: 'LIMIT',
    'many columns': 'LIMIT',
    'values of 256 MiB': 'LIMIT',
    count: 'LIMIT',
    start: 'LIMIT',
    hops: 'LIMIT',
    'many hops': 'LIMIT',
    'tokens of a session': 'LIMIT',
    'names to ask for': 'LIMIT',
    'many names to ask for': 'LIMIT',
    'names to keep': 'LIMIT',
    'tokens over the model': 'LIMIT'
  })
  await settled()
}, 120_000)

test('a peer that floods with sessions gets its 16 and leaves room for others', async () => {
  const peer = await beside(() => attacks.flood(dht, target, { sessions: 300, random }))
  expect(peer.count('opened')).toBe(16)
  expect(new Set(peer.errors.map((error) => error.code))).toEqual(new Set(['LIMIT']))
  peer.vanish()
  await settled()
}, 120_000)

test('a step that follows its opening at once is answered', async () => {
  expect(await attacks.serialSessions(dht, target, { sessions: 20, random })).toEqual([])
  await settled()
}, 120_000)

test('after all of it the memory of the server is what it was', async () => {
  const after = await settled()
  // To the byte what is kept of sessions that ended, the honest client's among them.
  expect(after.keptPrefixes).toBeGreaterThan(0)
  expect(after.kvBytes).toBe(after.keptBytes)
  // A long soak moves between 14 and 21 MiB of heap, and 150 and 185 of RSS, and does not rise.
  expect(after.heapBytes - idle.heapBytes).toBeLessThan(16 * MIB)
  expect(after.rssBytes - idle.rssBytes).toBeLessThan(96 * MIB)
}, 120_000)
