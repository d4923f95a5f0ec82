// A private swarm on loopback: members meet, strangers learn nothing, and nobody does more than its
// invite permits nor longer.
import { describe, expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { AppError } from '../../src/base/errors.ts'
import { createLog } from '../../src/base/log.ts'
import { find, probe } from '../../src/swarm/directory.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import type { Caveats } from '../../src/swarm/private/invite-codec.ts'
import {
  createSwarm,
  issueInvite,
  narrowInvite,
  type Invite,
  type SwarmRoot
} from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { publishRevocations } from '../../src/swarm/private/revocation-feed.ts'
import { readRevocations, signRevocations } from '../../src/swarm/private/revocations.ts'
import type { LinkHandlers } from '../../src/wire/link.ts'
import { PeerLink } from '../../src/wire/link.ts'
import type { Hello, WireError } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { AMPLE, BLOCKS, infoOf, MODEL, until, World, type NodeOptions } from './world.ts'

const model = { id: toHex(MODEL), names: ['test'] }

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    (error: AppError) => error.code
  )
}

/** A world with a swarm in it. */
class PrivateWorld implements AsyncDisposable {
  readonly root: SwarmRoot = createSwarm()
  readonly world: World

  private constructor(world: World) {
    this.world = world
  }

  static async start(): Promise<PrivateWorld> {
    return new PrivateWorld(await World.start())
  }

  invite(caveats: Caveats = {}): Invite {
    return issueInvite(this.root, caveats)
  }

  member(invite: Invite | Membership = this.invite(), more: NodeOptions = {}): Promise<SwarmNode> {
    const membership = invite instanceof Membership ? invite : new Membership(invite)
    return this.world.node({ membership, ...more })
  }

  async server(invite: Invite = this.invite(), more: NodeOptions = {}): Promise<SwarmNode> {
    const node = await this.member(invite, more)
    await node.serve(infoOf(0, BLOCKS))
    return node
  }

  /** The creator's list, numbered. */
  revoke(seq: number, ...invites: readonly Invite[]): Uint8Array {
    const ids = invites.map(({ capability }) => capability.ids.at(-1) ?? '')
    return signRevocations(this.root, seq, ids).bytes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]()
  }
}

/** A member whose program does not ask whether it may. */
class Cheat extends Membership {
  override require(): void {}
}

/** How one node's first link ended, and what it heard before. */
function watch(): LinkHandlers & {
  ended: Promise<AppError>
  hellos: Hello[]
  errors: WireError[]
} {
  const { promise, resolve } = Promise.withResolvers<AppError>()
  const hellos: Hello[] = []
  const errors: WireError[] = []
  return {
    hellos,
    errors,
    ended: promise,
    onready: (link) => void (link.remote && hellos.push(link.remote)),
    onerror: (_, error) => void errors.push(error),
    onclosed: (_, error) => resolve(error)
  }
}

/** Links to a peer with a hello of one's own making, as an intruder would. */
function connectWith(
  node: SwarmNode,
  peer: Uint8Array,
  hello: Hello,
  handlers: LinkHandlers
): PeerLink {
  const stream = node.dht.connect(Buffer.from(peer), { keyPair: createIdentity() })
  return new PeerLink(stream, { hello, handlers })
}

describe('a private swarm', () => {
  test('lets members find and reach each other', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const client = await swarm.member(swarm.invite({ may: ['chat'], label: 'alice' }))
    const [info] = await find(client, MODEL, BLOCKS, AMPLE)
    expect([info?.start, info?.end, toHex(info?.peer ?? new Uint8Array(0))]).toEqual([
      0,
      BLOCKS,
      server.peer
    ])
    const link = await client.connect(server.key, { serves: model })
    expect(await link.ping(30_000)).toBeGreaterThan(0)
    expect(link.servers.length).toBe(1)
    expect(client.memberOf(link)?.may).toEqual(['chat', 'serve', 'tune'])
    const [seen] = [...server.links]
    expect(seen && server.memberOf(seen)).toMatchObject({ may: ['chat'], label: 'alice' })
    expect(info && (await probe(client, info, AMPLE)).state).toBe('alive')
  })

  test('tells a stranger who knows topic and key nothing, neither by links nor by records', async () => {
    await using swarm = await PrivateWorld.start()
    const busy = { queue: 3, freeTokens: 77, computeMs: 0, queueMs: 0 }
    const told: string[] = []
    const log = createLog('info', (line) => void told.push(line))
    const server = await swarm.server(swarm.invite(), { handlers: { status: () => busy }, log })
    const heard = watch()
    const stranger = await swarm.world.node({ handlers: heard })
    // The stranger's side refuses nobody, so its attempt may succeed before it is thrown out.
    await stranger.connect(server.key).catch(() => {})
    expect((await heard.ended).code).toBe('DISCONNECTED')
    const from = stranger.peer.slice(0, 8)
    expect(told.join('')).toMatch(new RegExp(`^refused: .* a link of ${from}: .* not let in`, 'm'))
    expect(heard.hellos.map(({ agent, servers }) => [agent, servers])).toEqual([['', []]])
    expect(heard.errors).toEqual([])
    const record = await stranger.dht.mutableGet(Buffer.from(server.key))
    const hidden = ['test', '0.0.0', 'f32'].map((text) => Buffer.from(text))
    const text = Buffer.from(record?.value ?? new Uint8Array(0))
    expect([
      text.byteLength,
      [...hidden, Buffer.from(MODEL)].some((one) => text.includes(one))
    ]).toEqual([1000, false])
    expect(await find(stranger, MODEL, BLOCKS)).toEqual([])
  })

  test('lets nobody in with the invite of another swarm, and is let in nowhere itself', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const foreign = await swarm.member(issueInvite(createSwarm()))
    const open = await swarm.world.server(0, BLOCKS)
    const member = await swarm.member()
    expect([
      await codeOf(foreign.connect(server.key)),
      await codeOf(server.connect(foreign.key)),
      await codeOf(member.connect(open.key))
    ]).toEqual([expect.stringMatching(/DISCONNECTED|PROTOCOL/), 'DISCONNECTED', 'PROTOCOL'])
    await until(() => [...server.links].length === 0)
  })

  test('refuses a proof that was made for another connection', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const lured = watch()
    const intruder = await swarm.world.node({ handlers: lured })
    await intruder.serve(infoOf(0, BLOCKS))
    const victim = await swarm.member()
    await victim.connect(intruder.key).catch(() => {})
    await until(() => lured.hellos.length > 0)
    const [stolen] = lured.hellos
    expect(stolen?.proof?.byteLength).toBe(1024)
    const heard = watch()
    const link = connectWith(intruder, server.key, { ...(stolen as Hello) }, heard)
    await link.ready().catch(() => {})
    expect([(await heard.ended).code, heard.errors.map(({ code }) => code)]).toEqual([
      'DISCONNECTED',
      []
    ])
  })

  test('ends an expired invite: at the door, and while it is used', async () => {
    await using swarm = await PrivateWorld.start()
    const heard = watch()
    // The client's own clock is years behind, so that it is the server's that decides.
    const clock = new FakeClock()
    const server = await swarm.member(new Membership(swarm.invite(), { clock }), {
      handlers: heard,
      clock
    })
    await server.serve(infoOf(0, BLOCKS))
    const invite = swarm.invite({ expiresAt: clock.wall() + 1000 })
    const client = await swarm.member(invite)
    const link = await client.connect(server.key)
    await link.ping(30_000)
    await clock.advance(999)
    expect(link.closed).toBe(false)
    await clock.advance(1)
    expect((await heard.ended).code).toBe('DENIED')
    await until(() => link.closed)
    expect(await codeOf(client.connect(server.key))).toBe('DENIED')
    expect(await codeOf(swarm.member(new Membership(invite, { clock })))).toBe('DENIED')
  })

  test('stops a node whose own invite expires', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const clock = new FakeClock()
    const invite = swarm.invite({ expiresAt: clock.wall() + 1000 })
    const client = await swarm.member(new Membership(invite, { clock }), { clock })
    await client.connect(server.key)
    await clock.advance(999)
    expect([...client.links].length).toBe(1)
    await clock.advance(1)
    expect((await client.barred).code).toBe('DENIED')
    expect([...client.links]).toEqual([])
  })

  test('ends the link of a chat-only member that says it serves', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const heard = watch()
    const guest = await swarm.member(swarm.invite({ may: ['chat'] }), { handlers: heard })
    const link = await guest.connect(server.key)
    const seen = (): boolean => [...server.links].some((one) => one.servers.length > 0)
    link.announce({ servers: [infoOf(0, BLOCKS, { peer: guest.key })] })
    expect([(await heard.ended).code, seen()]).toEqual(['DENIED', false])
    expect(await codeOf(guest.serve(infoOf(0, BLOCKS)))).toBe('DENIED')
  })

  test('takes nothing from a server whose invite is for chatting alone, or another model', async () => {
    await using swarm = await PrivateWorld.start()
    const cheat = await swarm.member(new Cheat(swarm.invite({ may: ['chat'] })))
    await cheat.serve(infoOf(0, BLOCKS))
    const server = await swarm.server(swarm.invite({ models: ['another'] }))
    const client = await swarm.member()
    const found = await find(client, MODEL, BLOCKS, AMPLE)
    const another = { id: '00'.repeat(32), names: ['Another'] }
    expect([
      found.length,
      await codeOf(client.connect(cheat.key)),
      await codeOf(client.connect(server.key, { serves: model })),
      await codeOf(client.connect(server.key, { serves: another }))
    ]).toEqual([2, 'DISCONNECTED', 'PROTOCOL', 'nothing'])
  })
})

describe('revoking', () => {
  test('ends the links of the revoked and of all narrowed from it at once, and no others', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const team = swarm.invite({ label: 'team' })
    const person = narrowInvite(team, { may: ['chat'] })
    const [onTeam, onPerson] = [watch(), watch()]
    const teammate = await swarm.member(team, { handlers: onTeam })
    const someone = await swarm.member(person, { handlers: onPerson })
    const other = await swarm.member()
    await Promise.all([teammate, someone, other].map((node) => node.connect(server.key)))
    server.learnRevocations(swarm.revoke(1, team))
    const codes = [(await onTeam.ended).code, (await onPerson.ended).code]
    expect(codes).toEqual(['DENIED', 'DENIED'])
    expect([...server.links].map(({ peer }) => peer)).toEqual([other.peer])
    expect(await codeOf(someone.connect(server.key))).toBe('DENIED')
  })

  test('spreads from member to member, to those that connect later too', async () => {
    await using swarm = await PrivateWorld.start()
    const [first, second] = [await swarm.server(), await swarm.server()]
    const [heard, early] = [watch(), await swarm.member()]
    const revoked = swarm.invite()
    const outcast = await swarm.member(revoked, { handlers: heard })
    await Promise.all([
      first.connect(second.key),
      outcast.connect(second.key),
      early.connect(second.key)
    ])
    first.learnRevocations(swarm.revoke(5, revoked))
    expect((await heard.ended).code).toBe('DENIED')
    await until(() => early.membership?.revocations?.seq === 5)
    const late = await swarm.member()
    await late.connect(early.key).catch(() => {})
    await late.connect(second.key)
    await until(() => late.membership?.revocations?.seq === 5)
    expect(late.membership?.revocations?.ids).toEqual(new Set(revoked.capability.ids))
  })

  test('tells who is revoked, once it hears of it', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const revoked = swarm.invite()
    const outcast = await swarm.member(revoked)
    await outcast.connect(server.key)
    outcast.learnRevocations(swarm.revoke(1, revoked))
    expect([(await outcast.barred).code, [...outcast.links].length]).toEqual(['DENIED', 0])
  })

  test('tells who comes back that it was revoked meanwhile', async () => {
    await using swarm = await PrivateWorld.start()
    const server = await swarm.server()
    const revoked = swarm.invite()
    server.learnRevocations(swarm.revoke(1, revoked))
    const outcast = await swarm.member(revoked)
    await outcast.connect(server.key).catch(() => {})
    expect((await outcast.barred).message).toContain('revoked')
    expect(await codeOf(outcast.connect(server.key))).toBe('DENIED')
  })

  test('reaches a member through the DHT when nobody else is there', async () => {
    await using swarm = await PrivateWorld.start()
    const creator = await swarm.member()
    const revoked = Array.from({ length: 200 }, () => swarm.invite())
    for (const [seq, count] of [
      [1, 2],
      [2, 200]
    ] as const) {
      const ids = revoked.slice(0, count).map(({ capability }) => capability.ids[0] ?? '')
      const list = signRevocations(swarm.root, seq, ids)
      await publishRevocations(creator.dht, swarm.root, list, systemClock)
      const member = await swarm.member()
      expect(member.membership?.revocations?.seq).toBe(seq)
      expect(member.membership?.revocations?.ids.size).toBe(count)
    }
    expect(await codeOf(swarm.member(revoked[199]))).toBe('DENIED')
    const record = await creator.dht.mutableGet(Buffer.from(swarm.invite().root))
    expect(record?.value.byteLength).toBe(1000)
  })

  test('believes no list but a newer one of the creator', async () => {
    await using swarm = await PrivateWorld.start()
    const heard = watch()
    const server = await swarm.server()
    const victim = swarm.invite()
    const client = await swarm.member(victim, { handlers: heard })
    const link = await client.connect(server.key)
    server.learnRevocations(swarm.revoke(3))
    const forged = signRevocations(createSwarm(), 9, victim.capability.ids).bytes
    server.learnRevocations(swarm.revoke(2, victim))
    expect(() => server.learnRevocations(forged)).toThrow('refused')
    expect(await link.ping(30_000)).toBeGreaterThan(0)
    link.announce({ servers: [], revocations: forged })
    expect((await heard.ended).code).toBe('PROTOCOL')
    expect(server.membership?.revocations?.seq).toBe(3)
  })

  test('reads no list with a bit changed', async () => {
    await using swarm = await PrivateWorld.start()
    const invite = swarm.invite()
    const bytes = swarm.revoke(4, invite, swarm.invite())
    const passed: number[] = []
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const spoiled = bytes.slice()
      spoiled[bit >> 3] = (spoiled[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      try {
        readRevocations(invite, spoiled)
        passed.push(bit)
      } catch {
        // as it should be
      }
    }
    expect(passed).toEqual([])
  })
})
