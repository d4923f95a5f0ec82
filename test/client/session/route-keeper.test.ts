// Who serves the blocks of a session: servers that open at once, that refuse, and that are
// replaced.
import { expect, test } from 'bun:test'
import { AppError, timedOut } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { Chain } from '../../../src/client/session/chain.ts'
import type { HopFailure } from '../../../src/client/session/hop-failure.ts'
import { RouteKeeper } from '../../../src/client/session/route-keeper.ts'
import { toWire } from '../../../src/wire/peer-error.ts'
import type { OpenSession, ServerInfo } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { fakeInfo } from '../../support/fakes/fake-swarm.ts'

const BLOCKS = 6
const SESSION = new Uint8Array(16)
const STATUS = { queue: 0, freeTokens: 4096, computeMs: 1, queueMs: 0 }
const { signal } = new AbortController()

interface Server {
  info: ServerInfo
  readonly opens: OpenSession[]
  closes: number
  /** Set: what it answers an opening with. */
  refuses?: AppError
  /** It was killed: nobody reaches it. */
  isDead?: boolean
}

function peer(name: string): string {
  return name.repeat(32)
}

function rounding(server: Server, arithmetic: string): void {
  server.info = { ...server.info, arithmetic }
}

/** Servers by a name of two digits, e.g. { 'a1': [0, 3] }. */
function world(spans: Record<string, readonly [number, number]>) {
  const servers = new Map<string, Server>()
  const chain = new Chain({ hiddenSize: 4, dtype: 'f32' })
  const clock = new FakeClock()
  const book = new PeerBook()
  let finds = 0
  const add = (name: string, [start, end]: readonly [number, number]): Server => {
    const server = {
      info: fakeInfo(new Uint8Array(Buffer.from(peer(name), 'hex')), start, end, BLOCKS, 4),
      opens: [],
      closes: 0
    }
    servers.set(peer(name), server)
    return server
  }
  for (const [name, span] of Object.entries(spans)) add(name, span)
  const connect = async (id: string): Promise<ClientLink> => {
    const server = servers.get(id)!
    if (server.isDead) {
      await new Promise<void>((resolve) => void clock.after(2500, resolve))
      throw timedOut('Nobody is there')
    }
    const link: ClientLink = {
      peer: id,
      key: server.info.peer,
      closed: false,
      servers: [server.info],
      open: (message) => {
        server.opens.push(message)
        const { refuses } = server
        queueMicrotask(() =>
          refuses
            ? keeper.opener.onerror(
                link,
                toWire(refuses, { session: SESSION, step: -1, status: STATUS })
              )
            : keeper.opener.onopened(link, { session: SESSION, status: STATUS })
        )
      },
      step: () => {},
      cancel: () => {},
      keep: () => {},
      closeSession: () => void server.closes++,
      ping: async () => 1,
      awaited: () => () => {}
    }
    return link
  }
  const crossings: string[] = []
  const keeper: RouteKeeper = new RouteKeeper({
    session: SESSION,
    connections: { connect, listen: () => () => {} },
    book,
    model: new Uint8Array(32),
    clock,
    log: silentLog,
    chain,
    blockCount: BLOCKS,
    find: async () => {
      finds++
      return [...servers.values()].map(({ info }) => info)
    },
    oncrossing: (id) => crossings.push(id.slice(0, 2))
  } as ConstructorParameters<typeof RouteKeeper>[0])
  const server = (name: string): Server => servers.get(peer(name))!
  const route = (): string[] =>
    chain.route.map((hop) => `${hop.peer.slice(0, 2)} ${hop.start}:${hop.end}`)
  return { keeper, chain, book, clock, server, add, route, crossings, finds: () => finds }
}

test('cover() opens the session on servers of all blocks, and asks nobody again', async () => {
  const { keeper, route, server, finds } = world({ a1: [0, 3], b2: [3, 6] })
  await keeper.cover(100, signal)
  await keeper.cover(100, signal)
  expect(route()).toEqual(['a1 0:3', 'b2 3:6'])
  expect([server('a1').opens.length, server('b2').opens.length, finds()]).toEqual([1, 1, 1])
  expect(server('b2').opens).toMatchObject([{ start: 3, end: 6, maxTokens: 100 }])
})

test('cover() for more tokens asks each server for more, over the same session', async () => {
  const { keeper, server, route } = world({ a1: [0, 3], b2: [3, 6] })
  await keeper.cover(100, signal)
  await keeper.cover(300, signal)
  expect(server('a1').opens.map(({ maxTokens }) => maxTokens)).toEqual([100, 300])
  expect([route().length, server('a1').closes]).toEqual([2, 0])
})

test('the blocks of a server that is dropped go to another; its inputs stay for the replay', async () => {
  const { keeper, chain, server, add, route, book } = world({ a1: [0, 3], b2: [3, 6] })
  await keeper.cover(100, signal)
  const inputs = chain.inputs(3)
  add('c3', [3, 6])
  keeper.drop(peer('b2'))
  book.avoid(peer('b2'), Infinity)
  await keeper.cover(100, signal)
  expect(route()).toEqual(['a1 0:3', 'c3 3:6'])
  expect([server('a1').opens.length, server('b2').closes]).toEqual([1, 1])
  expect(chain.hops[1]?.inputs).toBe(inputs)
})

test('blocks that nobody serves are named, and those that somebody serves are not opened in vain', async () => {
  const { keeper, server } = world({ a1: [0, 3] })
  const error = await keeper.cover(100, signal).catch((thrown: AppError) => thrown)
  expect(error).toMatchObject({ code: 'NO_ROUTE', message: expect.stringContaining('3:6') })
  expect(server('a1').opens).toEqual([])
})

test('of servers that refuse at the same time, the first is thrown with the others, and who opened stays', async () => {
  const { keeper, server, route } = world({ a1: [0, 2], b2: [2, 4], c3: [4, 6] })
  server('a1').refuses = new AppError('NO_MEMORY', 'No room')
  server('c3').refuses = new AppError('BUSY', 'Busy')
  const failure = await keeper.cover(100, signal).catch((thrown: HopFailure) => thrown)
  expect(failure).toMatchObject({ peer: peer('a1'), error: { code: 'NO_MEMORY' } })
  expect((failure as HopFailure).also.map((one) => one.error.code)).toEqual(['BUSY'])
  expect(route()).toEqual(['b2 2:4'])
})

test('change() opens what is new before it lets go what is not in the new route', async () => {
  const { keeper, server, route, add } = world({ a1: [0, 3], b2: [3, 6] })
  await keeper.cover(100, signal)
  add('c3', [3, 6])
  add('d4', [0, 3])
  const planned = [
    { peer: peer('d4'), start: 0, end: 3 },
    { peer: peer('c3'), start: 3, end: 6 }
  ]
  server('c3').refuses = new AppError('NO_MEMORY', 'No room')
  const failed = await keeper.change(planned, 100, signal).catch((thrown: HopFailure) => thrown)
  expect([(failed as HopFailure).peer, route()]).toEqual([peer('c3'), ['a1 0:3', 'b2 3:6']])
  expect(server('d4').closes).toBe(1)
  delete server('c3').refuses
  await keeper.change(planned, 100, signal)
  expect(route()).toEqual(['d4 0:3', 'c3 3:6'])
  expect([server('a1').opens.length, server('a1').closes, server('b2').closes]).toEqual([1, 1, 1])
})

test('a server of another arithmetic is told of; one of the same is not', async () => {
  const { keeper, server, add, crossings, book } = world({ a1: [0, 3], b2: [3, 6] })
  for (const name of ['a1', 'b2']) rounding(server(name), 'petals-1')
  await keeper.cover(100, signal)
  expect(crossings).toEqual([])
  keeper.drop(peer('b2'))
  book.avoid(peer('b2'), Infinity)
  rounding(add('c3', [3, 6]), 'other')
  await keeper.cover(100, signal)
  expect(crossings).toEqual(['c3'])
})

test('while a server does not answer, others are tried; one that answers is next', async () => {
  const spans = Object.fromEntries(
    ['a1', 'a2', 'a3', 'a4', 'f5'].map((name) => [name, [0, 6] as const])
  )
  const { keeper, clock, server, route, book } = world(spans)
  for (const name of ['a1', 'a2', 'a3', 'a4']) server(name).isDead = true
  let rounds = 0
  for (; route().length === 0 && rounds < 5; rounds++) {
    const covering = keeper.cover(100, signal).catch((failure: HopFailure) => {
      book.avoid(failure.peer, clock.now() + 30_000, clock.wall())
    })
    await clock.advance(3000)
    await covering
  }
  expect([route(), rounds]).toEqual([['f5 0:6'], 3])
})

test('close() ends the session at every server', async () => {
  const { keeper, server, route } = world({ a1: [0, 3], b2: [3, 6] })
  await keeper.cover(100, signal)
  keeper.close(0)
  expect([server('a1').closes, server('b2').closes, route()]).toEqual([1, 1, []])
})
