// Whole hyperdht connections and hyperswarm between Bun on src/udx and node on the real udx-native,
// in a private testnet on loopback.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { type Peer, type Runtime, startPeer } from './peer.ts'

setDefaultTimeout(60_000)
const KIB = 1024
const MIB = 1024 * KIB
const CALL_MS = 50_000
const ROUNDS = 25

interface Address {
  host: string
  port: number
}

interface Listening {
  server: number
  publicKey: string
}

interface EchoOutcome {
  got: number
  equal: boolean
  ended: boolean
  error: { code?: string; message: string } | null
}

const peers = {} as Record<Runtime, Peer>
const bootstraps = {} as Record<Runtime, Address[]>

beforeAll(async () => {
  ;[peers.bun, peers.node] = await Promise.all([startPeer('bun'), startPeer('node')])
  for (const runtime of ['bun', 'node'] as Runtime[]) {
    const { bootstrap } = await peers[runtime].call<{ bootstrap: Address[] }>('testnet')
    bootstraps[runtime] = bootstrap
  }
})
afterAll(() => Promise.all([peers.bun.close(), peers.node.close()]))

function clean(bytes: number): EchoOutcome {
  return { got: bytes, equal: true, ended: true, error: null }
}

function dhtNode(runtime: Runtime, net: Runtime, open = true): Promise<number> {
  return peers[runtime].call<number>('dhtNode', { bootstrap: bootstraps[net], open })
}

async function echo(runtime: Runtime, args: object): Promise<EchoOutcome> {
  const outcome = await peers[runtime].call<EchoOutcome>('dhtEcho', args, CALL_MS)
  return { got: outcome.got, equal: outcome.equal, ended: outcome.ended, error: outcome.error }
}

const cases: [server: Runtime, client: Runtime, net: Runtime][] = [
  ['bun', 'node', 'node'],
  ['bun', 'node', 'bun'],
  ['node', 'bun', 'node'],
  ['node', 'bun', 'bun'],
  ['bun', 'bun', 'node'],
  ['bun', 'bun', 'bun']
]

describe.each(cases)('a %s server and a %s client over a testnet of %s', (server, client, net) => {
  test('8 MiB are echoed whole and the connection closes cleanly', async () => {
    const [atServer, atClient] = await Promise.all([dhtNode(server, net), dhtNode(client, net)])
    const { publicKey, server: index } = await peers[server].call<Listening>('echoServer', {
      node: atServer
    })
    const args = { node: atClient, publicKey, bytes: 8 * MIB, seed: 3 }
    expect(await echo(client, args)).toEqual(clean(8 * MIB))
    const seen = await peers[server].call<{ errors: string[]; bytes: number }>('echoReport', {
      server: index
    })
    expect([seen.errors, seen.bytes]).toEqual([[], 8 * MIB])
  })
})

describe.each([
  ['bun', 'node'],
  ['node', 'bun']
] as [Runtime, Runtime][])('a %s server and a %s client', (server, client) => {
  test(`connect ${ROUNDS} times one after the other`, async () => {
    const [atServer, atClient] = await Promise.all([
      dhtNode(server, 'node'),
      dhtNode(client, 'node')
    ])
    const { publicKey } = await peers[server].call<Listening>('echoServer', { node: atServer })
    for (let round = 0; round < ROUNDS; round++) {
      const args = { node: atClient, publicKey, bytes: 10 * KIB, seed: round }
      expect(await echo(client, args)).toEqual(clean(10 * KIB))
    }
    expect(await peers[server].call('uncaught')).toEqual([])
    expect(await peers[client].call('uncaught')).toEqual([])
  })

  test('eight connections at once each get their own bytes back', async () => {
    const [atServer, atClient] = await Promise.all([
      dhtNode(server, 'node'),
      dhtNode(client, 'node')
    ])
    const { publicKey } = await peers[server].call<Listening>('echoServer', { node: atServer })
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, (_, seed) =>
        echo(client, { node: atClient, publicKey, bytes: MIB, seed })
      )
    )
    expect(outcomes).toEqual(outcomes.map(() => clean(MIB)))
  })
})

const chains: [server: Runtime, relay: Runtime, client: Runtime][] = [
  ['node', 'bun', 'node'],
  ['bun', 'node', 'bun'],
  ['bun', 'bun', 'node'],
  ['node', 'node', 'bun']
]

describe.each(chains)('a %s server over a %s relay with a %s client', (server, relay, client) => {
  test('2 MiB are echoed through the relay alone', async () => {
    const [atServer, atRelay, atClient] = await Promise.all([
      dhtNode(server, 'node', false),
      dhtNode(relay, 'node'),
      dhtNode(client, 'node', false)
    ])
    const relaying = await peers[relay].call<Listening>('relayServer', { node: atRelay })
    const listening = await peers[server].call<Listening>('echoServer', { node: atServer })
    const args = {
      node: atClient,
      publicKey: listening.publicKey,
      relayThrough: relaying.publicKey,
      direct: false,
      bytes: 2 * MIB,
      seed: 5
    }
    expect(await echo(client, args)).toEqual(clean(2 * MIB))
    const seen = await peers[relay].call<{ streams: number; bytes: number }>('echoReport', {
      server: relaying.server
    })
    expect([seen.streams, seen.bytes > 4 * MIB]).toEqual([2, true])
  })
})

describe.each([
  ['bun', 'node'],
  ['node', 'bun'],
  ['bun', 'bun']
] as [Runtime, Runtime][])('hyperswarm: %s announces, %s looks up', (server, client) => {
  test('they find each other by topic, greet, and leaving closes the connection', async () => {
    const topic = new Bun.CryptoHasher('sha256').update(`${server} ${client}`).digest('hex')
    const join = (runtime: Runtime, role: object): Promise<{ swarm: number; publicKey: string }> =>
      peers[runtime].call('swarm', { bootstrap: bootstraps.node, topic, ...role }, CALL_MS)
    const announcer = await join(server, { server: true, client: false })
    const seeker = await join(client, { server: false, client: true })
    const [atServer, atClient] = await Promise.all([
      peers[server].call<string[]>('greeted', { swarm: announcer.swarm }, CALL_MS),
      peers[client].call<string[]>('greeted', { swarm: seeker.swarm }, CALL_MS)
    ])
    expect([atServer, atClient]).toEqual([
      [`${seeker.publicKey}:hello`],
      [`${announcer.publicKey}:hello`]
    ])
    await peers[client].call('leaveSwarm', { swarm: seeker.swarm }, CALL_MS)
    await peers[server].call('parted', { swarm: announcer.swarm }, CALL_MS)
    await peers[server].call('leaveSwarm', { swarm: announcer.swarm }, CALL_MS)
  })
})
