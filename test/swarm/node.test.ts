// Peers of a loopback swarm: links both ways, one per pair, limits, and what a failed one comes to.
import { describe, expect, test } from 'bun:test'
import { networkInterfaces } from 'node:os'
import type { AppError } from '../../src/base/errors.ts'
import { createLog } from '../../src/base/log.ts'
import { startBootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import type { PeerLink } from '../../src/wire/link.ts'
import type { CloseSession } from '../../src/wire/types.ts'
import { infoOf, until, World } from './world.ts'

const session = new Uint8Array(16).fill(3)

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    (error: AppError) => error.code
  )
}

describe('SwarmNode', () => {
  test('links a client to a server, and messages go both ways', async () => {
    await using world = await World.start()
    const heard: string[] = []
    const server = await world.server(0, 30, {
      handlers: {
        onclosesession: (link, message) => {
          heard.push(`server hears of ${message.session[0]}`)
          link.cancel({ session: message.session, step: 4 })
        }
      }
    })
    const client = await world.node({
      handlers: { oncancel: (_, message) => heard.push(`client hears of ${message.step}`) }
    })
    const link = await client.connect(server.key)
    link.closeSession({ session } satisfies CloseSession)
    await until(() => heard.length === 2)
    expect(heard).toEqual(['server hears of 3', 'client hears of 4'])
    expect([link.peer, link.initiator]).toEqual([server.peer, true])
    expect(link.servers.map(({ start, end }) => [start, end])).toEqual([[0, 30]])
  })

  test('says that another process serves under its key, and that nobody does who was killed', async () => {
    await using world = await World.start()
    const identity = createIdentity()
    const first = await world.server(0, 30, { identity })
    const copy = await world.node({ identity })
    expect(await codeOf(copy.requireSoleKey())).toBe('IN_USE')
    const other = await world.node()
    expect(await codeOf(other.requireSoleKey())).toBe('nothing')
    await first.dht.destroy({ force: true })
    expect(await codeOf(copy.requireSoleKey())).toBe('nothing')
  }, 60_000)

  test('uses one link per peer, also for those who ask at the same time', async () => {
    await using world = await World.start()
    const server = await world.server(0, 30)
    const client = await world.node()
    const links = await Promise.all([1, 2, 3].map(() => client.connect(server.key)))
    links.push(await client.connect(server.key))
    expect(new Set(links).size).toBe(1)
    expect([...client.links].length).toBe(1)
  })

  test('lets a server reach a client that is linked to it', async () => {
    await using world = await World.start()
    const server = await world.server(0, 30)
    const client = await world.node()
    await client.connect(server.key)
    const link = await server.connect(client.key)
    expect([link.initiator, await link.ping(30_000)]).toEqual([false, expect.any(Number)])
  })

  test('settles on one and the same link when two servers connect to each other at once', async () => {
    await using world = await World.start()
    const [a, b] = await Promise.all([world.server(0, 15), world.server(15, 30)])
    const [toB, toA] = await Promise.all([a.connect(b.key), b.connect(a.key)])
    expect(await Promise.all([toB.ping(30_000), toA.ping(30_000)])).toEqual([
      expect.any(Number),
      expect.any(Number)
    ])
    const settled = async (): Promise<boolean> => {
      const [one, two] = [await a.connect(b.key), await b.connect(a.key)]
      return one.initiator !== two.initiator
    }
    await until(settled)
    const greater = a.peer > b.peer ? a : b
    const made = [...greater.links].some((link) => link.initiator && link.remote)
    const used = await greater.connect(greater === a ? b.key : a.key)
    expect(used.initiator).toBe(made)
  })

  test('connects again when a link was lost', async () => {
    await using world = await World.start()
    const server = await world.server(0, 30)
    const client = await world.node()
    const first = await client.connect(server.key)
    await first.close()
    const second = await client.connect(server.key)
    expect([first.closed, second.closed, second === first]).toEqual([true, false, false])
  })

  test('replaces the link of a peer that comes back while the old one seems open', async () => {
    await using world = await World.start()
    const server = await world.server(0, 30)
    const identity = createIdentity()
    const before = await world.node({ identity })
    await before.connect(server.key)
    const after = await world.node({ identity })
    const link = await after.connect(server.key)
    await until(() => [...server.links].length === 1)
    expect(await link.ping(30_000)).toBeGreaterThan(0)
    expect(await [...server.links][0]?.ping(30_000)).toBeGreaterThan(0)
  })

  test('tells who takes no more links that it is BUSY', async () => {
    await using world = await World.start()
    const told: string[] = []
    const log = createLog('info', (line) => void told.push(line))
    const server = await world.server(0, 30, { maxLinks: 1, log })
    const [first, second] = [await world.node(), await world.node()]
    const link = await first.connect(server.key)
    const error = await second.connect(server.key).catch((thrown: AppError) => thrown)
    expect(error).toMatchObject({ code: 'BUSY', retryable: true, retryAfterMs: 5000 })
    expect(told.join('')).toMatch(/^refused: .* a link of 127\.0\.0\.1: all the links .* in use$/m)
    expect(await link.ping(30_000)).toBeGreaterThan(0)
  })

  test('gives up a peer that is nowhere, by the time given', async () => {
    await using world = await World.start()
    const client = await world.node()
    const nobody = createIdentity().publicKey
    const codes = await Promise.all([
      codeOf(client.connect(nobody, { timeoutMs: 50 })),
      codeOf(client.connect(nobody, { signal: AbortSignal.abort() })),
      codeOf(client.connect(client.key)),
      codeOf(client.connect(new Uint8Array(31)))
    ])
    expect(['TIMEOUT', 'DISCONNECTED']).toContain(codes[0] ?? '')
    expect(codes.slice(1)).toEqual(['CANCELLED', 'BAD_INPUT', 'BAD_INPUT'])
  })

  test('tries no more than 64 peers at a time', async () => {
    await using world = await World.start()
    const client = await world.node()
    const tries = Array.from({ length: 80 }, () =>
      codeOf(client.connect(createIdentity().publicKey, { timeoutMs: 2000 }))
    )
    expect((await Promise.all(tries)).filter((code) => code === 'BUSY').length).toBe(16)
  })

  test('lives through a hundred peers that connect and vanish', async () => {
    await using world = await World.start()
    const server = await world.server(0, 30)
    const client = await world.node()
    const kept = await client.connect(server.key)
    for (let round = 0; round < 10; round++) {
      const peers = Array.from(
        { length: 10 },
        () => new SwarmNode({ bootstrap: world.address, identity: createIdentity() })
      )
      await Promise.all(peers.map((peer) => peer.ready()))
      await Promise.all(peers.map((peer) => peer.connect(server.key)))
      await Promise.all(peers.map((peer) => peer.close()))
    }
    await until(() => [...server.links].length === 1)
    expect(await kept.ping(30_000)).toBeGreaterThan(0)
  }, 60_000)

  test('tells open links what it serves now, and that it leaves', async () => {
    await using world = await World.start()
    const server = await world.server(0, 10)
    const heard: number[] = []
    const left = Promise.withResolvers<void>()
    const client = await world.node({
      handlers: {
        onannounce: (_: PeerLink, { servers }) => {
          if (servers.length === 0) left.resolve()
          else heard.push(...servers.map(({ freeTokens }) => freeTokens))
        }
      }
    })
    const link = await client.connect(server.key)
    server.update(infoOf(0, 10, { freeTokens: 7, draining: true }))
    await until(() => heard.includes(7))
    expect(link.servers[0]?.draining).toBe(true)
    await server.leave()
    await left.promise
    expect(link.servers).toEqual([])
  })

  test('says when no bootstrap node answers', async () => {
    const gone = await startBootstrap({ port: 0, nodes: 1 })
    const { host, port } = gone
    await gone.close()
    await using node = new SwarmNode({
      bootstrap: [{ host, port }],
      identity: createIdentity()
    })
    const error = await node.ready().catch((thrown: AppError) => thrown)
    expect(error).toMatchObject({ code: 'UNAVAILABLE' })
    expect(String(error)).toContain(`${host}:${port}`)
  }, 60_000)

  test('says when its port is taken', async () => {
    await using world = await World.start(1)
    await using node = new SwarmNode({
      bootstrap: world.address,
      identity: createIdentity(),
      port: world.bootstrap.port
    })
    expect(await codeOf(node.ready())).toBe('IN_USE')
  })

  test('can be closed while it opens', async () => {
    await using world = await World.start()
    const node = new SwarmNode({
      bootstrap: world.address,
      identity: createIdentity()
    })
    void node.ready()
    await node.close()
    expect(await codeOf(node.connect(createIdentity().publicKey))).toBe('CLOSED')
  })
})

const lan = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ family, internal }) => family === 'IPv4' && !internal)
)

describe('startBootstrap()', () => {
  test('becomes part of the DHT of others', async () => {
    await using first = await startBootstrap({ port: 0, nodes: 1 })
    const start = [{ host: first.host, port: first.port }]
    await using second = await startBootstrap({ port: 0, nodes: 1, start })
    expect([first.joined, second.joined]).toEqual([true, true])
    await using server = new SwarmNode({
      bootstrap: start,
      identity: createIdentity()
    })
    await using client = new SwarmNode({
      bootstrap: [{ host: second.host, port: second.port }],
      identity: createIdentity()
    })
    await Promise.all([server.ready(), client.ready()])
    await server.serve(infoOf(0, 30))
    expect((await client.connect(server.key)).peer).toBe(server.peer)
  })

  test.skipIf(!lan)(
    "serves peers at this machine's address, whom hole punching joins",
    async () => {
      await using bootstrap = await startBootstrap({ host: '0.0.0.0', port: 0 })
      const address = [{ host: bootstrap.host, port: bootstrap.port }]
      const make = (): SwarmNode =>
        new SwarmNode({ bootstrap: address, identity: createIdentity() })
      await using server = make()
      await using client = make()
      await Promise.all([server.ready(), client.ready()])
      await server.serve(infoOf(0, 30))
      const link = await client.connect(server.key, { timeoutMs: 30_000 })
      expect(bootstrap.host).not.toMatch(/^(127|0)\./)
      expect(await link.ping(30_000)).toBeGreaterThan(0)
    }
  )

  test('says when its port is taken', async () => {
    await using first = await startBootstrap({ port: 0, nodes: 1 })
    const error = await startBootstrap({ port: first.port }).catch((thrown: AppError) => thrown)
    expect(error).toMatchObject({ code: 'IN_USE', hint: expect.stringContaining('--port') })
  })

  test('refuses what is no IPv4 address', async () => {
    const codes = await Promise.all(
      ['::1', 'petals.example', '1.2.3.256'].map((host) =>
        codeOf(startBootstrap({ host, port: 0 }))
      )
    )
    expect(codes).toEqual(['BAD_INPUT', 'BAD_INPUT', 'BAD_INPUT'])
  })
})
