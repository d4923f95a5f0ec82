// Invites as chains of capabilities: what may be done with them, and that no other bytes pass for
// one.
import { describe, expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { seededRandom, type Random } from '../../src/base/random.ts'
import {
  whyBarred,
  whyNot,
  type Capability,
  type Wish
} from '../../src/swarm/private/capability.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import {
  decodeBody,
  encodeBody,
  encodeInvite,
  INVITE_LIMITS,
  type Act,
  type Caveats,
  type SignedBlock
} from '../../src/swarm/private/invite-codec.ts'
import { fromText, toText } from '../../src/swarm/private/invite-text.ts'
import {
  checkChain,
  createSwarm,
  inviteText,
  issueInvite,
  keysOf,
  narrowInvite,
  parseInvite,
  readInvite,
  swarmIdOf,
  type Invite
} from '../../src/swarm/private/invite.ts'
import { labelledHash, signLabelled } from '../../src/swarm/private/seal.ts'

const NOW = 1_900_000_000_000
const swarm = createSwarm()
const keys = keysOf(swarm)
const stories = { id: 'ab'.repeat(32), names: ['Stories'] }
const other = { id: 'cd'.repeat(32), names: ['Other'] }
const WISHES: readonly Wish[] = (['chat', 'serve', 'tune'] as const).flatMap((act) =>
  [stories, other, undefined].map((model) => ({ act, model }))
)

function codeOf(run: () => unknown): string {
  try {
    run()
    return 'nothing'
  } catch (error) {
    if (error instanceof AppError) return error.code
    throw error
  }
}

/** Everything that a capability answers. */
function permits(capability: Capability, now = NOW): boolean[] {
  const barred = whyBarred(capability, { now, revoked: new Set() }) !== undefined
  return WISHES.map((wish) => !barred && whyNot(capability, wish) === undefined)
}

function randomCaveats(random: Random): Caveats {
  const may: readonly (readonly Act[])[] = [['chat', 'tune'], ['serve'], ['chat', 'serve']]
  const some = (chance: number): boolean => random.next() < chance
  return {
    ...(some(0.3) ? { may: may[random.below(3)] ?? [] } : {}),
    ...(some(0.3) ? { models: [stories.id, 'OTHER', 'third'].slice(random.below(3)) } : {}),
    ...(some(0.3) ? { tokensPerDay: 1 + random.below(1000) } : {}),
    ...(some(0.3) ? { sessions: 1 + random.below(9) } : {}),
    ...(some(0.3) ? { expiresAt: NOW + (random.below(20) - 5) * 1000 } : {}),
    ...(some(0.3) ? { label: `nr ${random.below(100)}` } : {})
  }
}

describe('issueInvite()', () => {
  test('makes an invite that reads back from its line as it was', () => {
    const caveats: Caveats = {
      may: ['chat'],
      models: [stories.id, 'SmolLM2 135M'],
      tokensPerDay: 50_000,
      sessions: 2,
      expiresAt: NOW,
      label: 'Zoë’s laptop'
    }
    const invite = issueInvite(swarm, caveats)
    const text = inviteText(invite)
    const read = parseInvite(text)
    expect(text).toMatch(/^petals1[a-z0-9]+$/)
    expect(read.capability).toEqual(invite.capability)
    expect(read.capability).toMatchObject({
      may: ['chat'],
      expiresAt: NOW,
      label: 'Zoë’s laptop',
      quotas: [{ id: read.capability.ids[0], tokensPerDay: 50_000, sessions: 2 }]
    })
    expect(inviteText(read)).toBe(text)
  })

  test('permits everything for ever when nothing is restricted', () => {
    const { capability } = issueInvite(swarm)
    expect([permits(capability), capability.expiresAt]).toEqual([WISHES.map(() => true), Infinity])
  })

  test('refuses what makes no sense', () => {
    const bad: Caveats[] = [
      { may: [] },
      { models: [] },
      { models: [''] },
      { models: ['a\nb'] },
      { models: ['x'.repeat(129)] },
      { models: Array.from({ length: 17 }, (_, i) => `model ${i}`) },
      { label: '\u001b[31mred' },
      { label: 'l'.repeat(65) },
      { sessions: 0.5 },
      { tokensPerDay: -1 },
      { expiresAt: Number.NaN },
      { models: Array.from({ length: 16 }, (_, i) => `${i}`.padEnd(128, 'x')) }
    ]
    expect(bad.map((caveats) => codeOf(() => issueInvite(swarm, caveats)))).toEqual([
      'BAD_INPUT',
      'BAD_INPUT',
      'BAD_INPUT',
      'BAD_INPUT',
      'LIMIT',
      'LIMIT',
      'BAD_INPUT',
      'LIMIT',
      'LIMIT',
      'LIMIT',
      'LIMIT',
      'LIMIT'
    ])
  })
})

describe('narrowInvite()', () => {
  test('only takes away, whatever is asked for: 300 random chains', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = seededRandom(seed)
      let invite = issueInvite(swarm, randomCaveats(random))
      for (let depth = 0; depth < 4; depth++) {
        const before = invite
        try {
          invite = narrowInvite(invite, randomCaveats(random))
        } catch (error) {
          expect({ seed, code: error instanceof AppError && error.code }).toEqual({
            seed,
            code: 'BAD_INPUT'
          })
          break
        }
        const [had, has] = [permits(before.capability), permits(invite.capability)]
        expect({ seed, grew: has.some((yes, i) => yes && !had[i]) }).toEqual({ seed, grew: false })
        expect(invite.capability.expiresAt).toBeLessThanOrEqual(before.capability.expiresAt)
        expect(invite.capability.quotas.slice(0, before.capability.quotas.length)).toEqual([
          ...before.capability.quotas
        ])
        expect(invite.capability.ids.slice(0, -1)).toEqual([...before.capability.ids])
        expect(parseInvite(inviteText(invite)).capability).toEqual(invite.capability)
      }
    }
  }, 60_000)

  test('refuses to leave nothing, and a ninth block', () => {
    const chatOnly = issueInvite(swarm, { may: ['chat'] })
    let deep: Invite = chatOnly
    for (let i = 1; i < INVITE_LIMITS.blocks; i++) deep = narrowInvite(deep, {})
    expect(codeOf(() => narrowInvite(chatOnly, { may: ['serve'] }))).toBe('BAD_INPUT')
    expect(codeOf(() => narrowInvite(deep, {}))).toBe('LIMIT')
    expect(parseInvite(inviteText(deep)).capability.ids.length).toBe(INVITE_LIMITS.blocks)
  })

  test('needs every list of models in the chain to agree', () => {
    const both = issueInvite(swarm, { models: [stories.id, other.id] })
    const one = narrowInvite(both, { models: ['stories'] })
    const none = narrowInvite(one, { models: [other.id] })
    const may = [both, one, none].map(({ capability }) =>
      [stories, other].map((model) => whyNot(capability, { act: 'chat', model }) === undefined)
    )
    expect(may).toEqual([
      [true, true],
      [true, false],
      [false, false]
    ])
  })
})

describe('whyBarred()', () => {
  test('ends an invite at its second, and with any block that was revoked', () => {
    const team = issueInvite(swarm, { expiresAt: NOW })
    const person = narrowInvite(team, { label: 'a person' })
    const sibling = narrowInvite(team, { label: 'another' })
    const bars = (invite: Invite, now: number, revoked: readonly string[]): boolean =>
      whyBarred(invite.capability, { now, revoked: new Set(revoked) }) !== undefined
    const [teamId = '', personId = ''] = person.capability.ids
    expect([
      bars(person, NOW - 1, []),
      bars(person, NOW, []),
      bars(person, NOW - 1, [teamId]),
      bars(person, NOW - 1, [personId]),
      bars(sibling, NOW - 1, [personId]),
      bars(team, NOW - 1, [personId])
    ]).toEqual([false, true, true, true, false, false])
  })
})

describe('readInvite()', () => {
  const invite = narrowInvite(
    issueInvite(swarm, { may: ['chat', 'serve'], models: ['stories'], label: 'team' }),
    { may: ['chat'], expiresAt: NOW, sessions: 3 }
  )
  const bytes = encodeInvite(invite)

  test('refuses it with any single bit flipped, anywhere', () => {
    const passed: number[] = []
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const spoiled = bytes.slice()
      spoiled[bit >> 3] = (spoiled[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const code = codeOf(() => readInvite(spoiled))
      if (code !== 'CORRUPT' && code !== 'UNSUPPORTED') passed.push(bit)
    }
    expect(passed).toEqual([])
  })

  test('refuses it cut anywhere, or with more behind it', () => {
    const passed = Array.from({ length: bytes.length }, (_, end) => end).filter(
      (end) => codeOf(() => readInvite(bytes.subarray(0, end))) !== 'CORRUPT'
    )
    expect(passed).toEqual([])
    expect(codeOf(() => readInvite(Buffer.concat([bytes, new Uint8Array(1)])))).toBe('CORRUPT')
  })

  test('throws nothing but AppErrors at 5,000 random spoilings', () => {
    const random = seededRandom(3)
    for (let round = 0; round < 5000; round++) {
      const spoiled = bytes.slice(0, 1 + random.below(bytes.length))
      for (let i = 0; i < 3; i++) spoiled[random.below(spoiled.length)] = random.below(256)
      if (Buffer.compare(spoiled, bytes) !== 0) {
        expect(['CORRUPT', 'UNSUPPORTED']).toContain(codeOf(() => readInvite(spoiled)))
      }
    }
  })
})

describe('parseInvite()', () => {
  const text = inviteText(issueInvite(swarm, { may: ['chat'] }))

  test('refuses the line with any character changed, missing or doubled', () => {
    const random = seededRandom(5)
    const passed: number[] = []
    for (let at = 0; at < text.length; at++) {
      const wrong = 'ybndrfg8ejkmcpqxot1uwisza345h769YlvO2 '[random.below(38)] ?? ''
      const lines = [
        text.slice(0, at) + (wrong === text[at] ? '_' : wrong) + text.slice(at + 1),
        text.slice(0, at) + text.slice(at + 1),
        text.slice(0, at) + (text[at] ?? '') + text.slice(at)
      ]
      if (lines.some((line) => line !== text && codeOf(() => parseInvite(line)) === 'nothing')) {
        passed.push(at)
      }
    }
    expect(passed).toEqual([])
  })

  test('tells what is no invite from a slip of the pen', () => {
    expect([
      codeOf(() => parseInvite('')),
      codeOf(() => parseInvite('petals2abc')),
      codeOf(() => parseInvite(`petals1${'y'.repeat(20_000)}`)),
      codeOf(() => parseInvite('petals1')),
      codeOf(() => parseInvite(text.toUpperCase()))
    ]).toEqual(['BAD_INPUT', 'BAD_INPUT', 'BAD_INPUT', 'CORRUPT', 'BAD_INPUT'])
  })

  test('reads back bytes of every length', () => {
    const random = seededRandom(6)
    for (let length = 0; length < 70; length++) {
      const bytes = Uint8Array.from({ length }, () => random.below(256))
      expect(Buffer.from(fromText(toText(bytes))).toString('hex')).toBe(
        Buffer.from(bytes).toString('hex')
      )
    }
  })
})

describe('checkChain()', () => {
  const team = issueInvite(swarm, { may: ['chat'] })
  const person = narrowInvite(team, { sessions: 1 })
  const [first, second] = person.blocks as [SignedBlock, SignedBlock]

  /** A block as anybody can make it, signed by whichever key. */
  function forge(seed: Uint8Array, before: readonly SignedBlock[], caveats: Caveats): SignedBlock {
    const body = encodeBody({ key: createIdentity().publicKey, caveats })
    const previous = before.reduce(
      (id: Uint8Array, { body }) => labelledHash('petals invite id', [id, body]),
      swarmIdOf(keys)
    )
    const { secretKey } = createIdentity(seed)
    return { body, signature: signLabelled('petals invite block 1', [previous, body], secretKey) }
  }

  test('takes the chain as it was made, and one made by the same rules', () => {
    const honest = forge(person.seed, person.blocks, {})
    expect(checkChain(keys, person.blocks)).toEqual(person.capability)
    expect(checkChain(keys, [...person.blocks, honest]).may).toEqual(['chat'])
  })

  test('refuses blocks by strangers, out of order, left out, from elsewhere or none', () => {
    const seed = new Uint8Array(32).fill(9)
    const elsewhere = issueInvite(createSwarm()).blocks
    const wider = { ...first, body: encodeBody({ ...decodeBody(first.body), caveats: {} }) }
    const chains: (readonly SignedBlock[])[] = [
      [],
      [forge(seed, [], {})],
      [first, forge(seed, [first], {})],
      [first, forge(swarm.seed, [first], {})],
      [first, forge(team.seed, [], {})],
      [second],
      [second, first],
      [first, first],
      [wider],
      [wider, second],
      elsewhere,
      [...elsewhere, second],
      Array.from({ length: 9 }, () => first)
    ]
    expect(chains.map((chain) => codeOf(() => checkChain(keys, chain)))).toEqual(
      chains.map(() => 'CORRUPT')
    )
  })

  test('refuses a good chain under another secret or another root', () => {
    const strangers = createIdentity().publicKey
    expect([
      codeOf(() => checkChain({ ...keys, secret: new Uint8Array(32) }, person.blocks)),
      codeOf(() => checkChain({ ...keys, root: strangers }, person.blocks))
    ]).toEqual(['CORRUPT', 'CORRUPT'])
  })

  test('refuses conditions that it does not know, although well signed', () => {
    const body = encodeBody({ key: createIdentity().publicKey, caveats: {} })
    const at = 1 + 32
    const unknown = Uint8Array.from([...body.subarray(0, at), 64, ...body.subarray(at + 1), 5])
    const signature = signLabelled(
      'petals invite block 1',
      [swarmIdOf(keys), unknown],
      createIdentity(swarm.seed).secretKey
    )
    expect(codeOf(() => checkChain(keys, [{ body: unknown, signature }]))).toBe('UNSUPPORTED')
  })
})
