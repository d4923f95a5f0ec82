// Whether another process lives under a key: its identity was copied, and both would take each
// other's links. Called by node.ts before it serves. Knows no links.
import type DHT from 'hyperdht'
import { deadline, type Clock } from '../../base/clock.ts'
import { createIdentity } from '../identity.ts'

/** As long as a connection to a server far away may take. One that was killed answers nobody. */
const REACH_MS = 6_000

/** Connects to the key as a stranger would; this process must not listen under it yet. */
export async function isKeyInUse(dht: DHT, key: Uint8Array, clock: Clock): Promise<boolean> {
  const stream = dht.connect(Buffer.from(key), { keyPair: createIdentity() })
  const answer = Promise.withResolvers<boolean>()
  stream.on('open', () => answer.resolve(true))
  stream.on('error', () => answer.resolve(false))
  stream.on('close', () => answer.resolve(false))
  try {
    return await deadline(answer.promise, REACH_MS, { clock })
  } catch {
    return false
  } finally {
    stream.destroy()
  }
}
