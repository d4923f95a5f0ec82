// Finds servers by words for a model and keeps the links to them; who lied about weights is found
// no more. weight-peers.ts asks them. Knows no files.
import { toHex } from '../base/bytes.ts'
import { deadline, type Clock } from '../base/clock.ts'
import { toAppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { PeerLink } from '../wire/link.ts'
import { whyNot } from '../swarm/private/capability.ts'
import type { SwarmNode } from '../swarm/node.ts'
import { wordTopic } from '../swarm/topics.ts'

export interface WeightFinderOptions {
  /** Joins when something is missing, unless it has joined before. */
  node: SwarmNode
  clock: Clock
  random: Random
  log: Log
}

/**
 * Peers that are used at once; more cost links, and a swarm of thousands has enough in any sixteen.
 */
const MAX_PEERS = 16
/** Of these the sixteen are chosen by chance, so that who announces first gains nothing. */
const MAX_FOUND = 128
const FIND_MS = 3000
/** A node may wait for an answer for ever; who wants weights then turns to other sources. */
const JOIN_MS = 12_000
const CONNECT_MS = 5000
/** How long who was found, or that nobody was, is good for. */
const FOUND_MS = 30_000

interface Found {
  readonly links: Promise<readonly PeerLink[]>
  readonly atMs: number
}

export class WeightFinder {
  readonly #options: WeightFinderOptions
  readonly #found = new Map<string, Found>()
  /** Gave or said what is wrong: good for blocks perhaps, not for weights. */
  readonly #avoided = new Set<string>()

  constructor(options: WeightFinderOptions) {
    this.#options = options
  }

  isAvoided(peer: string): boolean {
    return this.#avoided.has(peer)
  }

  avoid(peer: string, why: string): void {
    if (this.#avoided.has(peer)) return
    this.#avoided.add(peer)
    this.#options.log.warn(`no weights are taken from ${peer.slice(0, 8)} any more: it gave ${why}`)
  }

  /** Open links to those who announce a word; none when the swarm cannot be reached. */
  async find(word: string, signal: AbortSignal | undefined): Promise<readonly PeerLink[]> {
    const { clock } = this.#options
    const known = this.#found.get(word)
    const found =
      known && clock.now() - known.atMs < FOUND_MS
        ? known
        : { links: this.#search(word, signal), atMs: clock.now() }
    this.#found.set(word, found)
    try {
      const links = await found.links
      return links.filter((link) => !link.closed && !this.#avoided.has(link.peer))
    } catch (error) {
      this.#found.delete(word)
      throw error
    }
  }

  async #search(word: string, signal: AbortSignal | undefined): Promise<readonly PeerLink[]> {
    const { node, log, random, clock } = this.#options
    try {
      const what = 'Joining the swarm'
      await deadline(node.ready(), JOIN_MS, { clock, what, ...(signal ? { signal } : {}) })
    } catch (error) {
      if (toAppError(error).code === 'CANCELLED' || signal?.aborted) throw error
      log.debug(`peers cannot be asked for weights: ${toAppError(error).message}`)
      return []
    }
    const keys = await this.#announced(node, word, signal)
    while (keys.length > MAX_PEERS) keys.splice(random.below(keys.length), 1)
    const links = await Promise.all(
      keys.map(async (key) => {
        try {
          const link = await node.connect(key, { signal, timeoutMs: CONNECT_MS })
          const member = node.memberOf(link)
          const why = member && whyNot(member, { act: 'serve' })
          if (why === undefined) return [link]
          log.debug(`no weights from ${link.peer.slice(0, 8)}: ${why}`)
        } catch (error) {
          if (signal?.aborted) throw error
          log.debug(toAppError(error).message)
        }
        return []
      })
    )
    log.debug(`${links.flat().length} of ${keys.length} peers are there for '${word}'`)
    return links.flat()
  }

  async #announced(
    node: SwarmNode,
    word: string,
    signal: AbortSignal | undefined
  ): Promise<Uint8Array[]> {
    const keys = new Map<string, Uint8Array>()
    const session = node.dht.session()
    const look = async (): Promise<void> => {
      const topic = Buffer.from(wordTopic(word, node.swarmSecret))
      for await (const { peers } of node.dht.lookup(topic, { session })) {
        for (const { publicKey } of peers) {
          const peer = toHex(publicKey)
          if (peer !== node.peer && keys.size < MAX_FOUND) keys.set(peer, publicKey)
        }
      }
    }
    const limit = { clock: this.#options.clock, signal, what: 'Looking for weights' }
    await deadline(look(), FIND_MS, limit).catch((error: unknown) => {
      // A node that is gone holds a search up; what was found until then must do.
      if (signal?.aborted) throw error
    })
    session.destroy()
    return [...keys.values()]
  }
}
