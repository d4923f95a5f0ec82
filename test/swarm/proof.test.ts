// Proofs of membership: good on the connection that they were made for, and nowhere else.
import { describe, expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { createSwarm, issueInvite, keysOf, narrowInvite } from '../../src/swarm/private/invite.ts'
import { INVITE_LIMITS } from '../../src/swarm/private/invite-codec.ts'
import { checkProof, makeProof, type ProofContext } from '../../src/swarm/private/proof.ts'
import { LIMITS } from '../../src/wire/protocol.ts'

const swarm = createSwarm()
const keys = keysOf(swarm)
const invite = issueInvite(swarm, { may: ['chat'], label: 'me' })
const context: ProofContext = {
  handshakeHash: new Uint8Array(64).fill(1),
  prover: createIdentity().publicKey,
  initiator: true
}
const proof = makeProof(invite, context, 7)

function codeOf(run: () => unknown): string {
  try {
    run()
    return 'nothing'
  } catch (error) {
    return error instanceof AppError ? error.code : String(error)
  }
}

describe('checkProof()', () => {
  test('tells what the prover may do, and which list of revoked invites it has', () => {
    expect(checkProof(keys, context, proof)).toEqual({
      capability: invite.capability,
      revocationSeq: 7
    })
  })

  test('refuses it on another connection, by another peer, sent back, or in another swarm', () => {
    const peer = createIdentity().publicKey
    const others: ProofContext[] = [
      { ...context, handshakeHash: new Uint8Array(64).fill(2) },
      { ...context, prover: peer },
      { ...context, initiator: false },
      { ...context, prover: peer, initiator: false }
    ]
    expect(others.map((other) => codeOf(() => checkProof(keys, other, proof)))).toEqual(
      others.map(() => 'DENIED')
    )
    expect([
      codeOf(() => checkProof(keysOf(createSwarm()), context, proof)),
      codeOf(() => checkProof({ ...keys, secret: new Uint8Array(32) }, context, proof)),
      codeOf(() => checkProof({ ...keys, root: peer }, context, proof)),
      codeOf(() => checkProof(keys, context, undefined)),
      codeOf(() => checkProof(keys, context, new Uint8Array(0)))
    ]).toEqual(['DENIED', 'DENIED', 'DENIED', 'DENIED', 'DENIED'])
  })

  test('refuses who shows a chain without its last key', () => {
    const narrowed = narrowInvite(invite, { sessions: 1 })
    const thief = { ...narrowed, blocks: invite.blocks }
    const stranger = { ...invite, seed: new Uint8Array(32).fill(3) }
    expect([
      codeOf(() => checkProof(keys, context, makeProof(thief, context, 0))),
      codeOf(() => checkProof(keys, context, makeProof(stranger, context, 0))),
      codeOf(() => checkProof(keys, context, makeProof(narrowed, context, 0)))
    ]).toEqual(['DENIED', 'DENIED', 'nothing'])
  })

  test('refuses it with any byte changed', () => {
    const passed: number[] = []
    for (let at = 0; at < proof.length; at++) {
      const spoiled = proof.slice()
      spoiled[at] = (spoiled[at] ?? 0) ^ 0x40
      if (codeOf(() => checkProof(keys, context, spoiled)) !== 'DENIED') passed.push(at)
    }
    expect(passed).toEqual([])
  })
})

describe('makeProof()', () => {
  test('fits a hello with the longest chain, and says nothing by its length', () => {
    let longest = issueInvite(swarm, { models: Array.from({ length: 16 }, (_, i) => `model ${i}`) })
    for (let i = 1; i < INVITE_LIMITS.blocks; i++) {
      longest = narrowInvite(longest, { models: ['x'.repeat(128), 'y'.repeat(100)] })
    }
    const long = makeProof(longest, context, 0)
    expect(long.byteLength).toBeLessThanOrEqual(LIMITS.proofBytes)
    expect(checkProof(keys, context, long).capability).toEqual(longest.capability)
    const short = [invite, narrowInvite(invite, {}), narrowInvite(invite, { label: 'long label' })]
    expect(short.map((one) => makeProof(one, context, 0).byteLength)).toEqual([1024, 1024, 1024])
  })
})
