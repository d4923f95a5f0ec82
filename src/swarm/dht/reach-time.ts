// How long reaching a server may take from here: from round trips to DHT nodes, measured when it is
// asked. A limit made for a fast network calls living servers absent on a slow one.
import type DHT from 'hyperdht'
import { deadline, type Clock } from '../../base/clock.ts'

/** Lost packets are sent again after a second or more, a few times in a row. */
const LEAST_MS = 4_000
/**
 * Finding the peer, the handshake through the DHT, NATs, Noise, hello and a ping, in round trips.
 */
const ROUND_TRIPS = 12
const MOST_MS = 20_000
const NODES = 4
const PING_MS = 2_000

/** A limit for reaching a server and for its pong together, ms. Pure. */
export function reachLimitMs(rttsMs: readonly number[]): number {
  const sorted = [...rttsMs].sort((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)] ?? PING_MS
  return Math.min(MOST_MS, LEAST_MS + ROUND_TRIPS * median)
}

/**
 * Round trips to some nodes of the DHT, ms; of those that do not answer, how long that was waited
 * for.
 */
export async function measureRtts(dht: DHT, clock: Clock): Promise<readonly number[]> {
  const nodes = dht.toArray().slice(0, NODES)
  return Promise.all(
    nodes.map(async (node) => {
      const began = clock.now()
      await deadline(dht.ping(node, { retry: false }), PING_MS, { clock }).catch(() => {})
      return clock.now() - began
    })
  )
}
