// Peers that knock at a node of a private swarm without a good proof, in every state of the
// handshake, all drawn from a seed; and what they were told. For test/swarm/private-fuzz.test.ts.
import type DHT from 'hyperdht'
import type { Random } from '../../../src/base/random.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import type { Invite } from '../../../src/swarm/private/invite.ts'
import { makeProof } from '../../../src/swarm/private/proof.ts'
import { PROTOCOL_NAME } from '../../../src/wire/protocol.ts'
import { spoil } from './hostile.ts'
import { everyMessage, helloFrame, RawPeer, sessionId, type Target } from './raw-peer.ts'

/** Of a frame that opens the channel, before its hello. */
const HEAD_BYTES = 4 + PROTOCOL_NAME.length + 1

export interface Knock {
  /** Of a member, of a former member, of another swarm; undefined: none. */
  invite?: Invite
  /** Changes a proof that would have been good. */
  bend?: (proof: Uint8Array, random: Random) => Uint8Array
  /** A proof made for another connection. */
  stolen?: Uint8Array
}

/** Every frame that was sent to it, and whether it was thrown out. */
export interface Reception {
  readonly frames: readonly Uint8Array[]
  readonly closed: boolean
}

/** Knocks once: messages before the hello, a hello, messages behind it at once. */
export async function knock(
  dht: DHT,
  target: Target,
  options: Knock & { random: Random }
): Promise<Reception> {
  const { random } = options
  const peer = new RawPeer(dht, target, createIdentity())
  peer.keepsFrames = true
  await peer.ready()
  const messages = everyMessage(target, sessionId(random))
  const some = (): void => {
    for (let left = random.below(6); left > 0; left--) {
      const [type, bytes] = messages[random.below(messages.length)] ?? [0, new Uint8Array(1)]
      peer.bytes(type, random.below(2) === 0 ? bytes : spoil(bytes, random))
    }
  }
  some()
  const frame = helloFrame(proofFor(peer, options, random))
  // What opens the channel stays whole: without a channel only the time for a hello ends the link.
  const [head, body] = [frame.subarray(0, HEAD_BYTES), frame.subarray(HEAD_BYTES)]
  peer.raw(random.below(4) === 0 ? Buffer.concat([head, spoil(body, random)]) : frame)
  some()
  // What it says then is answered or not; the end comes by itself, or at the latest when it asks
  // to.
  peer.send('ping', { nonce: 7 })
  await peer.until(() => peer.count('pong') > 0)
  const { closed, frames } = peer
  peer.vanish()
  return { closed, frames }
}

function proofFor(peer: RawPeer, knock: Knock, random: Random): Uint8Array | undefined {
  const { invite, bend, stolen } = knock
  if (stolen) return stolen
  const { handshakeHash, publicKey } = peer
  if (!invite || !handshakeHash) return undefined
  const proof = makeProof(invite, { handshakeHash, prover: publicKey, initiator: true }, 0)
  return bend ? bend(proof, random) : proof
}
