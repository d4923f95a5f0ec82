// What arrives over a host's links: to the block server of now, past a private swarm's gate, or
// refused while there is no server.
import { expect, test } from 'bun:test'
import { AppError, denied } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { ServerEvents } from '../../../src/server/events.ts'
import type { BlockServer } from '../../../src/server/sessions/block-server.ts'
import type { MemberGate } from '../../../src/server/sessions/member-gate.ts'
import { dispatchMessages } from '../../../src/server/sessions/message-dispatch.ts'
import { toWire } from '../../../src/wire/peer-error.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { LinkHandlers, PeerLink } from '../../../src/wire/link.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { codes, id, open, Peer, serve, step } from './one-server.ts'

type Gate = Pick<MemberGate, 'open' | 'mayBring' | 'step' | 'spend'>

interface Dispatch {
  readonly handlers: LinkHandlers
  readonly gone: string[]
  readonly events: ServerEvents
}

function dispatch(server: BlockServer | undefined, gate?: Gate): Dispatch {
  const gone: string[] = []
  const events = new ServerEvents({ clock: new FakeClock() })
  const handlers = dispatchMessages({
    server: () => server,
    trainer: () => undefined,
    gate: () => gate as MemberGate | undefined,
    ongone: (peer) => gone.push(peer),
    events,
    log: silentLog
  })
  return { handlers, gone, events }
}

/** The handlers know links by what a Peer has of them. */
function linkOf(peer: Peer): PeerLink {
  return peer as unknown as PeerLink
}

function openMessage(session: number): Parameters<NonNullable<LinkHandlers['onopen']>>[1] {
  return {
    session: id(session),
    model: new Uint8Array(32).fill(7),
    start: 2,
    end: 4,
    maxTokens: 20
  }
}

test('while blocks are loaded, sessions and steps are refused with a time to come back', () => {
  const { handlers, events } = dispatch(undefined)
  const peer = new Peer('a')
  handlers.onopen?.(linkOf(peer), openMessage(1))
  void handlers.onstep?.(linkOf(peer), step(1, 3, 0))
  expect(peer.errors).toMatchObject([
    { code: 'BUSY', session: id(1), step: -1, retryAfterMs: 60_000 },
    { code: 'BUSY', session: id(1), step: 3, retryAfterMs: 60_000 }
  ])
  expect(events.counts.refused).toEqual({ BUSY: 2 })
})

test('a session that the gate refuses is opened nowhere, and its client is told why', async () => {
  const { server } = await serve()
  await using _server = server
  const refuse = (): void => {
    throw denied('The invite has expired')
  }
  const { handlers } = dispatch(server, {
    open: refuse,
    mayBring: () => true,
    step: () => {},
    spend: () => {}
  })
  const peer = new Peer('a')
  handlers.onopen?.(linkOf(peer), openMessage(1))
  await settle()
  expect(peer.errors).toMatchObject([{ code: 'DENIED', message: 'The invite has expired' }])
  expect(server.sessions.size).toBe(0)
})

test("a stranger's step of somebody's session is not run and not answered", async () => {
  const { server, compute } = await serve()
  await using _server = server
  const gate = {
    open: () => {},
    mayBring: (link: object) => link !== thief,
    step: () => {},
    spend: () => {}
  }
  const [owner, thief] = [new Peer('a'), new Peer('b')]
  const { handlers } = dispatch(server, gate)
  await open(server, owner, 1)
  void handlers.onstep?.(linkOf(thief), step(1, 0, 0))
  void handlers.onstep?.(linkOf(owner), step(1, 1, 0))
  await owner.until(1)
  const answered = owner.results.map((result) => result.step)
  expect([thief.errors, thief.results, answered]).toEqual([[], [], [1]])
  expect(compute.steps.length).toBe(1)
})

test('a step over the quota is refused to its owner, whoever brought it', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const spent = (): void => {
    throw denied('The tokens of today are used up')
  }
  const { handlers } = dispatch(server, {
    open: () => {},
    mayBring: () => true,
    step: spent,
    spend: () => {}
  })
  const [owner, pusher] = [new Peer('a'), new Peer('b')]
  await open(server, owner, 1)
  void handlers.onstep?.(linkOf(pusher), step(1, 4, 0))
  expect(owner.errors).toMatchObject([{ code: 'DENIED', step: 4 }])
  expect([pusher.errors, compute.steps]).toEqual([[], []])
})

test('a step that is refused or was there before costs no quota', async () => {
  const { server } = await serve()
  await using _server = server
  const spent: number[] = []
  const { handlers } = dispatch(server, {
    open: () => {},
    mayBring: () => true,
    step: () => {},
    spend: (message) => void spent.push(message.count)
  })
  const owner = new Peer('a')
  await open(server, owner, 1)
  const narrow = encodeTensor(new Float32Array(1), 1, 1, 'f32')
  for (const one of [{ ...step(1, 0, 0), tensor: narrow }, step(1, 1, 0), step(1, 1, 0)]) {
    void handlers.onstep?.(linkOf(owner), one)
  }
  await owner.until(1)
  expect([spent, codes(owner)]).toEqual([[1], ['BAD_INPUT']])
})

test("the next server's refusal of a pushed step reaches the session's client", async () => {
  const { server } = await serve()
  await using _server = server
  const { handlers } = dispatch(server)
  const [owner, next] = [new Peer('a'), new Peer('b')]
  await open(server, owner, 1)
  const error = new AppError('NO_MEMORY', 'No room')
  const status = server.status()
  handlers.onerror?.(linkOf(next), toWire(error, { session: id(1), step: 2, status }))
  handlers.onerror?.(linkOf(next), toWire(error, { session: id(1), step: -1, status }))
  expect(owner.errors).toMatchObject([{ code: 'NO_MEMORY', step: 2 }])
})

test('a link that ends frees its sessions; it and a peer without spans are told as gone', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const { handlers, gone } = dispatch(server)
  const [left, stays] = [new Peer('a'), new Peer('b')]
  await open(server, left, 1)
  await open(server, stays, 2)
  handlers.onannounce?.(linkOf(stays), { servers: [], revocations: undefined } as never)
  handlers.onclosed?.(linkOf(left), new AppError('DISCONNECTED', 'gone'))
  await settle()
  expect([gone, server.sessions.size, compute.sessions.size]).toEqual([['b', 'a'], 1, 1])
  expect(codes(stays)).toEqual([])
})
