// A node of a private swarm in the face of those who are no members: whatever they send, in
// whatever state of the handshake, they get nothing done and learn nothing; members that go wrong
// harm nobody.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import { seededRandom, type Random } from '../../src/base/random.ts'
import type { Caveats } from '../../src/swarm/private/invite-codec.ts'
import {
  createSwarm,
  issueInvite,
  narrowInvite,
  type Invite
} from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { signRevocations } from '../../src/swarm/private/revocations.ts'
import type { LinkHandlers } from '../../src/wire/link.ts'
import { spoil } from '../support/hostile/hostile.ts'
import { knock, type Knock } from '../support/hostile/intruder.ts'
import type { Target } from '../support/hostile/raw-peer.ts'
import { BLOCKS, infoOf, MODEL, until, World } from './world.ts'

const root = createSwarm()
const random = seededRandom(31)
const soon = Math.ceil(Date.now() / 1000) * 1000 + 3_600_000
/** What reached the server's own handlers. */
const served: string[] = []
let world: World
let server: SwarmNode
let target: Target
let stranger: SwarmNode

function invite(caveats: Caveats = {}): Invite {
  return issueInvite(root, caveats)
}

function noting(): LinkHandlers {
  const note = (what: string) => (): void => void served.push(what)
  return {
    onready: note('ready'),
    onopen: note('open'),
    onopened: note('opened'),
    onstep: note('step'),
    onresult: note('result'),
    oncancel: note('cancel'),
    onclosesession: note('close'),
    onannounce: note('announce'),
    status: () => ({ queue: 3, freeTokens: 77, computeMs: 1, queueMs: 1 })
  }
}

beforeAll(async () => {
  world = await World.start()
  server = await world.node({
    membership: new Membership(invite()),
    handlers: noting(),
    agent: 'petals/secret'
  })
  await server.serve(infoOf(0, BLOCKS, { modelName: 'hidden-model', quant: 'q-hidden' }))
  stranger = await world.node()
  target = { key: server.key, model: MODEL, blockCount: BLOCKS, hiddenSize: 64 }
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

const revoked = invite({ label: 'revoked' })
const KNOCKS: Readonly<Record<string, (random: Random) => Knock>> = {
  'no proof': () => ({}),
  'the invite of another swarm': () => ({ invite: issueInvite(createSwarm()) }),
  'a revoked invite': () => ({ invite: revoked }),
  'one narrowed from a revoked invite': () => ({ invite: narrowInvite(revoked, {}) }),
  'an expired invite': () => ({ invite: invite({ expiresAt: 1_000_000_000_000 }) }),
  'a good proof, spoiled': () => ({ invite: invite(), bend: spoilSurely }),
  'a good proof, cut': () => ({
    invite: invite(),
    bend: (proof, dice) => proof.slice(0, dice.below(proof.length))
  }),
  'a good proof with more behind it': () => ({
    invite: invite(),
    bend: (proof) => Buffer.concat([proof, new Uint8Array(1)])
  }),
  'noise for a proof': (dice) => ({
    stolen: Uint8Array.from({ length: 1024 }, () => dice.below(256))
  }),
  'a chain without its last key': () => {
    const whole = invite()
    return { invite: { ...narrowInvite(whole, { sessions: 1 }), blocks: whole.blocks } }
  },
  'a chain whose last block is of its own making': () => {
    const chat = invite({ may: ['chat'], expiresAt: soon })
    const other = narrowInvite(issueInvite(createSwarm()), {})
    const [forged] = other.blocks.slice(-1)
    return { invite: { ...chat, blocks: forged ? [...chat.blocks, forged] : [], seed: other.seed } }
  },
  'a chain that goes in a circle': () => {
    const whole = invite()
    return { invite: { ...whole, blocks: [...whole.blocks, ...whole.blocks] } }
  }
}

/** A spoiling can be none. */
function spoilSurely(proof: Uint8Array, dice: Random): Uint8Array {
  for (;;) {
    const spoiled = spoil(proof, dice)
    if (Buffer.compare(spoiled, proof) !== 0) return spoiled
  }
}

/** What nobody but members may read anywhere. */
function secrets(): Buffer[] {
  const words = ['hidden-model', 'q-hidden', 'petals/secret', toHex(MODEL)].map((text) =>
    Buffer.from(text)
  )
  return [...words, Buffer.from(MODEL), Buffer.from(root.secret)]
}

for (const [name, make] of Object.entries(KNOCKS)) {
  test(`${name}: nothing is done, nothing is told`, async () => {
    server.learnRevocations(signRevocations(root, 1, revoked.capability.ids).bytes)
    served.length = 0
    for (let round = 0; round < 6; round++) {
      const { closed, frames } = await knock(stranger.dht, target, { ...make(random), random })
      const told = Buffer.concat(frames.map((frame) => Buffer.from(frame)))
      const leaks = secrets()
        .slice(0, -1)
        .filter((secret) => told.indexOf(secret) >= 0)
      expect({ name, closed, served, leaks }).toEqual({ name, closed: true, served: [], leaks: [] })
    }
    await until(() => [...server.links].length === 0)
  })
}

test('a proof that was good for one connection is good for no other', async () => {
  const honest = await world.node({ membership: new Membership(invite()) })
  const proofs: Uint8Array[] = []
  const lured = await world.node({
    handlers: { onready: ({ remote }) => void (remote?.proof && proofs.push(remote.proof)) }
  })
  await lured.serve(infoOf(0, BLOCKS))
  await honest.connect(lured.key).catch(() => {})
  await until(() => proofs.length > 0)
  served.length = 0
  for (let round = 0; round < 6; round++) {
    const [stolen] = proofs
    const { closed } = await knock(stranger.dht, target, { ...(stolen ? { stolen } : {}), random })
    expect({ closed, served }).toEqual({ closed: true, served: [] })
  }
})

test('a member that sends nonsense harms neither the list of the revoked nor other members', async () => {
  const member = await world.node({ membership: new Membership(invite()) })
  await member.connect(server.key)
  const list = server.membership?.revocations
  const bytes = list?.bytes ?? new Uint8Array(0)
  const newer = signRevocations(createSwarm(), 9, [revoked.capability.ids[0] ?? '']).bytes
  for (let round = 0; round < 20; round++) {
    const rogue = await world.node({ membership: new Membership(invite()) })
    const link = await rogue.connect(server.key)
    const revocations = round === 0 ? newer : spoilSurely(bytes, random).slice(0, 20_000)
    link.announce({ servers: [], revocations })
    await until(() => link.closed)
  }
  expect(server.membership?.revocations?.seq).toBe(list?.seq ?? -1)
  const link = await member.connect(server.key)
  expect(await link.ping(30_000)).toBeGreaterThan(0)
}, 60_000)

test('each end judges by its own clock, and the stricter one decides', async () => {
  const expiresAt = soon
  const codes: string[] = []
  for (const [mine, theirs] of [
    [0, 0],
    [7_200_000, 0],
    [0, 7_200_000],
    [-7_200_000, 0]
  ] as const) {
    const at = (ms: number): { clock: Clock } => ({
      clock: { ...systemClock, wall: () => Date.now() + ms }
    })
    const guest = invite({ expiresAt })
    const host = await world.node({ membership: new Membership(invite(), at(theirs)) })
    await host.serve(infoOf(0, BLOCKS))
    const outcome = async (): Promise<string> => {
      const node = await world.node({ membership: new Membership(guest, at(mine)) })
      const link = await node.connect(host.key)
      return link.closed ? 'closed' : 'in'
    }
    codes.push(await outcome().catch((error: { code: string }) => error.code))
  }
  expect(codes).toEqual(['in', 'DENIED', 'DENIED', 'in'])
})
