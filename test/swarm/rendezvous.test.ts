// Finding a swarm again when the node that it began with is gone, and on a local network without
// any.
import { describe, expect, test } from 'bun:test'
import { createSocket } from 'node:dgram'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import type { AppError } from '../../src/base/errors.ts'
import { createLog, silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { startBootstrap, type Bootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { find } from '../../src/swarm/directory.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import {
  answering,
  formatKnown,
  hasRecord,
  MAX_KNOWN,
  mergeKnown,
  parseKnown,
  type KnownNode
} from '../../src/swarm/dht/known-nodes.ts'
import { LanBeacon } from '../../src/swarm/dht/lan.ts'
import { Rendezvous, type RendezvousOptions } from '../../src/swarm/dht/rendezvous.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import { AMPLE, BLOCKS, infoOf, MODEL, until } from './world.ts'

const DAY_MS = 86_400_000

/** Peers with their meetings, closed in reverse. */
class Town implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  #made = 0

  bootstrap(): Promise<Bootstrap> {
    return startBootstrap({ port: 0, nodes: 1 })
  }

  /** What a command does before it makes its node; `kept` is its file. */
  async peer(
    options: Partial<RendezvousOptions>,
    kept: { nodes: readonly KnownNode[] } = { nodes: [] }
  ): Promise<SwarmNode> {
    const random = seededRandom(++this.#made)
    const rendezvous = new Rendezvous({
      bootstrap: [],
      known: kept.nodes,
      keep: async (nodes) => void (kept.nodes = nodes),
      serving: false,
      random,
      ...options
    })
    const identity = createIdentity()
    const node = this.#stack.use(new SwarmNode({ rendezvous, identity, random }))
    await node.ready()
    return node
  }

  async server(
    options: Partial<RendezvousOptions>,
    kept?: { nodes: readonly KnownNode[] }
  ): Promise<SwarmNode> {
    const node = await this.peer({ serving: true, ...options }, kept)
    await node.serve(infoOf(0, BLOCKS))
    return node
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack[Symbol.asyncDispose]()
  }
}

function peersOf(infos: readonly { peer: Uint8Array }[]): string[] {
  return infos.map(({ peer }) => Buffer.from(peer).toString('hex')).sort()
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, () => resolve()))
  const { port } = socket.address()
  await new Promise<void>((resolve) => socket.close(() => resolve()))
  return port
}

describe('a swarm whose bootstrap node is gone', () => {
  test('is found by who was there before, and goes on taking servers', async () => {
    await using town = new Town()
    const bootstrap = await town.bootstrap()
    const given = [{ host: bootstrap.host, port: bootstrap.port }]
    const kept = { nodes: [] as readonly KnownNode[] }
    const first = await town.server({ bootstrap: given })
    const second = await town.server({ bootstrap: given })
    await town.peer({ bootstrap: given }, kept)
    await until(() => kept.nodes.length >= 3)
    await bootstrap.close()
    const late = await town.server({ bootstrap: given }, kept)
    const client = await town.peer({ bootstrap: given }, kept)
    const found = await find(client, MODEL, BLOCKS, {
      ...AMPLE,
      enough: (infos) => infos.length === 3
    })
    expect(peersOf(found)).toEqual([first.peer, second.peer, late.peer].sort())
    expect(await (await client.connect(first.key)).ping(30_000)).toBeGreaterThan(0)
  }, 120_000)

  test('is missed by a client, and waited for by a server', async () => {
    const given = [{ host: '127.0.0.1', port: await freePort() }]
    await using client = new Rendezvous({ bootstrap: given, serving: false })
    expect(await client.ready().catch((error: AppError) => [error.code, error.message])).toEqual([
      'UNAVAILABLE',
      `The swarm cannot be joined: nobody answers at 127.0.0.1:${given[0]?.port}`
    ])
    const warned = Promise.withResolvers<void>()
    const log = createLog('warn', () => warned.resolve())
    await using server = new Rendezvous({ bootstrap: given, serving: true, log })
    const ready = server.ready()
    await warned.promise
    await using bootstrap = await startBootstrap({ port: given[0]?.port ?? 0, nodes: 1 })
    await ready
    expect(server.start.bootstrap.map(({ port }) => port)).toContain(bootstrap.port)
  }, 60_000)

  test('ends the waiting of a server that is closed', async () => {
    const given = [{ host: '127.0.0.1', port: await freePort() }]
    const warned = Promise.withResolvers<void>()
    const log = createLog('warn', () => warned.resolve())
    const server = new Rendezvous({ bootstrap: given, serving: true, log })
    const ended = server.ready().catch((error: AppError) => error.code)
    await warned.promise
    await server.close()
    expect(await ended).toBe('CANCELLED')
  }, 60_000)

  test('hears of servers at once when it is back and has forgotten them', async () => {
    await using town = new Town()
    const bootstrap = await town.bootstrap()
    const { host, port } = bootstrap
    const lines: string[] = []
    const log = createLog('debug', (line) => lines.push(line))
    const told = (text: string): Promise<void> => {
      return until(() => lines.some((line) => line.includes(text)))
    }
    // Looks ten times as often.
    const after: Clock['after'] = (ms, ...rest) => systemClock.after(ms / 10, ...rest)
    const clock = { ...systemClock, after }
    const server = await town.server({ bootstrap: [{ host, port }], log, clock })
    await told("has this server's record")
    await bootstrap.close()
    await using again = await startBootstrap({ port, nodes: 1 })
    await told(`${again.host}:${again.port} is back`)
    await until(async () => (await hasRecord(server.dht, { host, port }, server.key)) === 'has')
  }, 60_000)
})

describe('a swarm on a local network', () => {
  test('finds its servers without any node given, and only with its key', async () => {
    await using town = new Town()
    const lanPort = await freePort()
    const lanKey = new Uint8Array(32).fill(1)
    const first = await town.server({ lanKey, lanPort })
    const second = await town.server({ lanKey, lanPort })
    const client = await town.peer({ lanKey, lanPort })
    const found = await find(client, MODEL, BLOCKS, {
      ...AMPLE,
      enough: (infos) => infos.length === 2
    })
    expect(peersOf(found)).toEqual([first.peer, second.peer].sort())
    expect(await (await client.connect(second.key)).ping(30_000)).toBeGreaterThan(0)
    const other = { lanKey: new Uint8Array(32).fill(2), lanPort }
    const error = await town.peer(other).catch((thrown: AppError) => thrown)
    expect(error).toMatchObject({ code: 'UNAVAILABLE' })
  }, 120_000)

  test('becomes one when two servers began apart', async () => {
    await using town = new Town()
    const lanPort = await freePort()
    const lanKey = new Uint8Array(32).fill(3)
    const both = await Promise.all([
      town.server({ lanKey, lanPort }),
      town.server({ lanKey, lanPort })
    ])
    await until(async () => {
      const found = await Promise.all(both.map((node) => find(node, MODEL, BLOCKS)))
      return found.every((infos) => infos.length === 1)
    })
    const client = await town.peer({ lanKey, lanPort })
    const found = await find(client, MODEL, BLOCKS, {
      ...AMPLE,
      enough: (infos) => infos.length === 2
    })
    expect(peersOf(found)).toEqual(both.map(({ peer }) => peer).sort())
  }, 120_000)

  test('goes on when the server that began it leaves', async () => {
    await using town = new Town()
    await using begun = new Town()
    const lanPort = await freePort()
    const lanKey = new Uint8Array(32).fill(4)
    await begun.server({ lanKey, lanPort })
    const second = await town.server({ lanKey, lanPort })
    await begun[Symbol.asyncDispose]()
    const client = await town.peer({ lanKey, lanPort })
    const found = await find(client, MODEL, BLOCKS, {
      ...AMPLE,
      enough: (infos) => infos.length > 0
    })
    expect(peersOf(found)).toEqual([second.peer])
  }, 120_000)
})

describe('LanBeacon', () => {
  test('lives through a flood of noise and answers those who have its key', async () => {
    const port = await freePort()
    const options = { key: new Uint8Array(32).fill(5), clock: systemClock, log: silentLog, port }
    await using here = new LanBeacon(options)
    await using asking = new LanBeacon(options)
    await Promise.all([here.ready(), asking.ready()])
    const own = { host: '127.0.0.1', port: 4321 }
    await here.offer(own)
    const random = seededRandom(8)
    const socket = createSocket('udp4')
    for (let i = 0; i < 300; i++) {
      const noise = Uint8Array.from({ length: random.below(200) }, () => random.below(256))
      socket.send(i % 2 === 0 ? noise : new Uint8Array(96), port, '127.0.0.1')
    }
    expect(await asking.ask(600)).toEqual([own])
    await new Promise<void>((resolve) => socket.close(() => resolve()))
  })

  test('says when its port is taken, and goes on asking', async () => {
    const holder = createSocket('udp4')
    await new Promise<void>((resolve) => holder.bind(0, () => resolve()))
    const { port } = holder.address()
    const told: string[] = []
    const log = createLog('warn', (line) => told.push(line))
    await using beacon = new LanBeacon({ key: new Uint8Array(32), clock: systemClock, log, port })
    await beacon.ready()
    await beacon.offer({ host: '127.0.0.1', port: 1 })
    expect([told.length, await beacon.ask(10)]).toEqual([1, []])
    await new Promise<void>((resolve) => holder.close(() => resolve()))
  })
})

describe('known nodes', () => {
  test('keep the latest of each, and forget what is a month old', () => {
    const node = (last: number, seenAt: number): KnownNode => ({
      host: `10.0.0.${last}`,
      port: 1000,
      seenAt
    })
    const now = 100 * DAY_MS
    const known = [node(1, now - DAY_MS), node(2, now - 31 * DAY_MS), node(3, now - 2 * DAY_MS)]
    expect(mergeKnown(known, [{ host: '10.0.0.3', port: 1000 }], now)).toEqual([
      node(3, now),
      node(1, now - DAY_MS)
    ])
    const many = Array.from({ length: 50 }, (_, i) => node(i, now - i))
    expect(mergeKnown(many, [], now)).toEqual(many.slice(0, MAX_KNOWN))
  })

  test('read back as written, without lines that are none', () => {
    const nodes = [{ host: '127.0.0.1', port: 65_535, seenAt: 17 }]
    const noise = '1.2.3.4:0 5\n999.1.1.1:5 6\nexample.org:5 6\n1.2.3.4:5\n\n'
    expect(parseKnown(noise + formatKnown(nodes))).toEqual(nodes)
  })

  test('are those that answer', async () => {
    await using alive = await startBootstrap({ port: 0, nodes: 1 })
    const gone = await startBootstrap({ port: 0, nodes: 1 })
    await gone.close()
    const [one, two] = [alive, gone].map(({ host, port }) => ({ host, port }))
    expect(await answering(one && two ? [two, one] : [], { clock: systemClock })).toEqual(
      one ? [one] : []
    )
    expect(await answering([], { clock: systemClock })).toEqual([])
  })

  test('are waited for no longer when told to stop', async () => {
    const asked = Promise.withResolvers<void>()
    const socket = await Bun.udpSocket({
      hostname: '127.0.0.1',
      socket: { data: () => asked.resolve() }
    })
    const silent = [{ host: '127.0.0.1', port: socket.port }]
    // Asked earlier, and given up by itself when it has waited long enough.
    const waiting = answering(silent, { clock: systemClock }).then(() => 'waited')
    await asked.promise
    const stop = new AbortController()
    const stopped = answering(silent, { clock: systemClock, signal: stop.signal })
    stop.abort()
    expect(await Promise.race([stopped.then(() => 'stopped'), waiting])).toBe('stopped')
    expect([await stopped, await waiting]).toEqual([[], 'waited'])
    socket.close()
  })

  test('are asked from the address that was given', async () => {
    const asked = Promise.withResolvers<string>()
    const socket = await Bun.udpSocket({
      hostname: '127.0.0.1',
      socket: { data: (_socket, _bytes, _port, from) => asked.resolve(from) }
    })
    const silent = [{ host: '127.0.0.1', port: socket.port }]
    const asking = answering(silent, { clock: systemClock, host: '127.0.0.9' })
    expect(await asked.promise).toBe('127.0.0.9')
    socket.close()
    expect(await asking).toEqual([])
  })
})
