// Finding servers: all of them, soon, and none that left, died, lied or belong to others.
import { describe, expect, test } from 'bun:test'
import DHT from 'hyperdht'
import { toHex } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { AppError } from '../../src/base/errors.ts'
import { createLog } from '../../src/base/log.ts'
import { startBootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { covered, gapsOf } from '../../src/swarm/coverage.ts'
import {
  find,
  findAllServers,
  findServers,
  probe,
  status,
  type DirectoryEntry
} from '../../src/swarm/directory.ts'
import { createIdentity, type Identity } from '../../src/swarm/identity.ts'
import { createSwarm, issueInvite } from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { encodeRecord } from '../../src/swarm/record.ts'
import { cellsOf, topicOf } from '../../src/swarm/topics.ts'
import type { ServerInfo } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { AMPLE, BLOCKS, infoOf, MODEL, until, World } from './world.ts'

const spans = (infos: readonly ServerInfo[]): string[] =>
  infos.map(({ start, end }) => `${start}:${end}`).sort()
const all = (node: SwarmNode): Promise<ServerInfo[]> => find(node, MODEL, BLOCKS, AMPLE)

/** Announces a key at every cell of the model, with whatever record. */
async function lie(
  world: World,
  identity: Identity,
  record: Uint8Array | undefined
): Promise<void> {
  const node = new DHT({ bootstrap: world.address, host: '127.0.0.1', firewalled: false })
  await node.fullyBootstrapped()
  const announcing = cellsOf(0, BLOCKS, BLOCKS).map((cell) => {
    const topic = Buffer.from(topicOf(MODEL, cell))
    return (node as unknown as Announcing).announce(topic, identity, []).finished()
  })
  await Promise.all(announcing)
  if (record) await node.mutablePut(identity, Buffer.from(record), { seq: Date.now() })
  await node.destroy()
}

interface Announcing {
  announce(topic: Uint8Array, keyPair: Identity, relays: []): { finished(): Promise<void> }
}

function stateOf(
  entries: readonly DirectoryEntry[],
  peer: string
): DirectoryEntry['state'] | undefined {
  return entries.find(({ info }) => toHex(info.peer) === peer)?.state
}

describe('find()', () => {
  test('finds 20 servers over 30 blocks, each once, with what they say', async () => {
    await using world = await World.start()
    const wanted = Array.from({ length: 20 }, (_, i) => [i, Math.min(BLOCKS, i + 4 + (i % 8))])
    await Promise.all(wanted.map(([first, last]) => world.server(first ?? 0, last ?? 0)))
    const client = await world.node()
    const found = await all(client)
    expect(spans(found)).toEqual(wanted.map(([first, last]) => `${first}:${last}`).sort())
    expect(found.every(({ throughput, quant }) => throughput === 100 && quant === 'f32')).toBe(true)
  }, 60_000)

  test('ends as soon as it has enough', async () => {
    await using world = await World.start()
    await Promise.all([world.server(0, 15), world.server(15, 30), world.server(0, 30)])
    const client = await world.node()
    const found: ServerInfo[] = []
    const enough = (infos: readonly ServerInfo[]): boolean => covered(infos, BLOCKS)
    for await (const info of findServers(client, MODEL, BLOCKS, { enough })) found.push(info)
    expect(covered(found, BLOCKS)).toBe(true)
    expect(covered(found.slice(0, -1), BLOCKS)).toBe(false)
  })

  test('asks for known servers first, and for those alone when they are enough', async () => {
    await using world = await World.start()
    const known = await Promise.all([world.server(0, 15), world.server(15, 30)])
    await Promise.all(Array.from({ length: 4 }, () => world.server(0, 30)))
    const client = await world.node()
    const enough = (infos: readonly ServerInfo[]): boolean => covered(infos, BLOCKS)
    const gone = toHex(createIdentity().publicKey)
    const peers = known.map((node) => node.peer)
    const found = await find(client, MODEL, BLOCKS, { ...AMPLE, enough, known: [gone, ...peers] })
    expect(found.map((info) => toHex(info.peer)).sort()).toEqual(peers.toSorted())
    expect(await find(client, MODEL, BLOCKS, { ...AMPLE, known: peers })).toHaveLength(6)
  })

  test('finds with one bootstrap node alone', async () => {
    await using world = await World.start(1)
    await world.server(0, 30)
    expect(spans(await all(await world.node()))).toEqual(['0:30'])
  })

  test('does not find a server that left, from that moment on', async () => {
    await using world = await World.start()
    const [stays, leaves] = await Promise.all([world.server(0, 15), world.server(15, 30)])
    const client = await world.node()
    expect(spans(await all(client))).toEqual(['0:15', '15:30'])
    await leaves.leave()
    expect(spans(await all(client))).toEqual(['0:15'])
    await stays.close()
    expect(await all(client)).toEqual([])
  })

  test('finds a server that came back by its newest record', async () => {
    await using world = await World.start()
    const identity = createIdentity()
    const first = await world.server(0, 10, { identity })
    await first.close()
    await world.server(10, 20, { identity })
    expect(spans(await all(await world.node()))).toEqual(['10:20'])
  })

  test('finds a server that moved where it is now', async () => {
    await using world = await World.start()
    const server = await world.server(0, 10)
    const client = await world.node()
    server.update(infoOf(20, 30))
    await until(async () => spans(await all(client)).join() === '20:30')
    expect(spans(await all(client))).toEqual(['20:30'])
  })

  test('finds nothing of another model, nor of a private swarm without its secret', async () => {
    await using world = await World.start()
    const membership = new Membership(issueInvite(createSwarm()))
    await world.server(0, 30, { membership })
    const [stranger, member] = await Promise.all([world.node(), world.node({ membership })])
    expect(await all(stranger)).toEqual([])
    expect(await find(member, new Uint8Array(32), BLOCKS)).toEqual([])
    expect(spans(await all(member))).toEqual(['0:30'])
  })

  test('finds the servers of all models, of the own swarm alone', async () => {
    await using world = await World.start()
    const membership = new Membership(issueInvite(createSwarm()))
    const other = { model: new Uint8Array(32).fill(8), modelName: 'other', blockCount: 4 }
    const [, node] = await Promise.all([
      world.server(0, 30),
      world.node(),
      world.server(0, 30, { membership })
    ])
    await node.serve(infoOf(0, 4, other))
    const names = async (asker: SwarmNode): Promise<string[]> => {
      const found: string[] = []
      for await (const info of findAllServers(asker, AMPLE)) found.push(info.modelName)
      return found.sort()
    }
    expect(await names(await world.node())).toEqual(['other', 'test'])
    expect(await names(await world.node({ membership }))).toEqual(['test'])
    await node.leave()
    expect(await names(await world.node())).toEqual(['test'])
  }, 60_000)

  test('takes no record that is foreign, expired, absurd, oversized, damaged or missing', async () => {
    await using world = await World.start()
    await world.server(0, 30)
    const now = Date.now()
    const record = (peer: Uint8Array, more: Partial<ServerInfo>): Uint8Array =>
      encodeRecord([infoOf(0, 9, { peer, issuedAt: now, expiresAt: now + 60_000, ...more })])
    const bad: ((peer: Uint8Array) => Uint8Array | undefined)[] = [
      () => record(createIdentity().publicKey, {}),
      (peer) => record(peer, { issuedAt: now - 600_000, expiresAt: now - 540_000 }),
      (peer) => record(peer, { model: new Uint8Array(32) }),
      (peer) => record(peer, { blockCount: 4000, end: 4000 }),
      (peer) => Buffer.concat([record(peer, {}), new Uint8Array(1000)]),
      (peer) => record(peer, {}).subarray(0, 80),
      () => new Uint8Array([255]),
      () => undefined
    ]
    for (const make of bad) {
      const identity = createIdentity()
      await lie(world, identity, make(identity.publicKey))
    }
    const honest = createIdentity()
    await lie(world, honest, record(honest.publicKey, {}))
    expect(spans(await all(await world.node()))).toEqual(['0:30', '0:9'])
  }, 60_000)

  test('finds servers among 300 keys that are announced for nothing', async () => {
    await using world = await World.start()
    const blockCount = 4
    const topic = Buffer.from(topicOf(MODEL, { start: 0, end: blockCount }))
    const flood = new DHT({ bootstrap: world.address, host: '127.0.0.1', firewalled: false })
    await flood.fullyBootstrapped()
    for (let i = 0; i < 300; i += 30) {
      const lies = Array.from({ length: 30 }, () =>
        (flood as unknown as Announcing).announce(topic, createIdentity(), []).finished()
      )
      await Promise.all(lies)
    }
    const server = await world.node()
    await server.serve(infoOf(0, blockCount, { blockCount }))
    const client = await world.node()
    const found = await find(client, MODEL, blockCount, {
      ...AMPLE,
      enough: (all) => all.length > 0
    })
    expect(found.map(({ peer }) => toHex(peer))).toEqual([server.peer])
    await flood.destroy()
  }, 60_000)

  test('takes records of the dead for no clock that is wrong', async () => {
    await using world = await World.start()
    const told: string[] = []
    const log = createLog('warn', (line) => void told.push(line))
    const client = await world.node({ log })
    const dead = createIdentity()
    const issuedAt = Date.now() - 600_000
    const old = { peer: dead.publicKey, issuedAt, expiresAt: issuedAt + 60_000 }
    await lie(world, dead, encodeRecord([infoOf(0, 30, old)]))
    expect([await all(client), told]).toEqual([[], []])
    const late = { ...systemClock, wall: () => systemClock.wall() - 600_000 }
    await world.server(0, 30, { clock: late })
    expect(await all(client)).toEqual([])
    expect(told).toHaveLength(1)
    expect(told[0]).toContain('clocks')
  }, 60_000)

  test('stops when it is told to', async () => {
    await using world = await World.start()
    const client = await world.node()
    const controller = new AbortController()
    const looking = find(client, MODEL, BLOCKS, { signal: controller.signal })
    controller.abort()
    const code = (error: AppError): string => error.code
    expect(await looking.then(() => 'nothing', code)).toBe('CANCELLED')
    expect(await all(client)).toEqual([])
  })

  test('finds a server again after the bootstrap node was restarted', async () => {
    const first = await startBootstrap({ port: 0, nodes: 1 })
    const bootstrap = [{ host: first.host, port: first.port }]
    const clock = new FakeClock()
    await using world = await World.start()
    const server = await world.server(0, 30, { bootstrap, clock })
    await first.close()
    await using _second = await startBootstrap({ port: first.port, nodes: 1 })
    // The world's time stays as it is: the record must not have expired for the client's clock.
    const client = await world.node({ bootstrap, clock: new FakeClock() })
    expect(await all(client)).toEqual([])
    await clock.advance(25_000)
    await until(async () => (await all(client)).length === 1)
    await until(async () => {
      const [entry] = await status(client, MODEL, BLOCKS)
      return entry?.state === 'alive'
    })
    // While the node is there to hear it: the world ends after it.
    await Promise.all([server.close(), client.close()])
  }, 60_000)
})

describe('status()', () => {
  test('says who lives, and that a killed server does not', async () => {
    await using world = await World.start()
    const lives = await world.server(0, 15)
    const child = Bun.spawn(
      [
        process.execPath,
        `${import.meta.dir}/server-process.ts`,
        String(world.bootstrap.port),
        '15',
        '30'
      ],
      { stdout: 'pipe', stderr: 'inherit' }
    )
    const { value } = await child.stdout.getReader().read()
    const peer = new TextDecoder().decode(value).trim()
    const client = await world.node()
    const before = await status(client, MODEL, BLOCKS)
    expect([stateOf(before, lives.peer), stateOf(before, peer)]).toEqual(['alive', 'alive'])
    child.kill('SIGKILL')
    await child.exited
    const began = performance.now()
    const [known, fresh] = [client, await world.node()]
    for (const asker of [known, fresh]) {
      const after = await status(asker, MODEL, BLOCKS)
      expect([stateOf(after, lives.peer), stateOf(after, peer)]).toEqual(['alive', 'silent'])
    }
    expect(performance.now() - began).toBeLessThan(30_000)
  }, 60_000)
})

describe('probe()', () => {
  test('brings what the server says now', async () => {
    await using world = await World.start()
    const server = await world.server(0, 10)
    const client = await world.node()
    const [found] = await all(client)
    if (!found) throw new Error('Nothing was found')
    await client.connect(server.key)
    server.update(infoOf(0, 10, { freeTokens: 5, draining: true }))
    await until(async () => (await probe(client, found)).info.freeTokens === 5)
    const entry = await probe(client, found)
    expect([entry.state, entry.info.draining, entry.rttMs]).toEqual([
      'alive',
      true,
      expect.any(Number)
    ])
  })

  test('finds a server alive that was idle for longer than a record lives', async () => {
    let idleMs = 0
    const clock = { ...systemClock, wall: () => systemClock.wall() + idleMs }
    await using world = await World.start()
    await world.server(0, 10, { clock })
    const client = await world.node({ clock })
    const [found] = await all(client)
    if (!found) throw new Error('Nothing was found')
    idleMs = 3_600_000
    expect((await probe(client, found)).state).toBe('alive')
  })

  test('finds a server dead that lives but serves no more', async () => {
    await using world = await World.start()
    const server = await world.server(0, 10)
    const client = await world.node()
    const [found] = await all(client)
    if (!found) throw new Error('Nothing was found')
    await server.leave()
    expect((await probe(client, found)).state).toBe('gone')
  })
})

describe('gapsOf()', () => {
  test('names the blocks that nobody serves', () => {
    const infos = [infoOf(20, 25), infoOf(0, 5), infoOf(3, 10), infoOf(4, 6)]
    expect(gapsOf(infos, BLOCKS)).toEqual([
      { start: 10, end: 20 },
      { start: 25, end: 30 }
    ])
    expect(gapsOf(infos, BLOCKS, 2, 12)).toEqual([{ start: 10, end: 12 }])
    expect(gapsOf([], BLOCKS)).toEqual([{ start: 0, end: 30 }])
    expect([covered(infos, BLOCKS, 0, 10), covered(infos, BLOCKS, 0, 11)]).toEqual([true, false])
  })
})
