// Other servers as a source of weights: finds them by words for a model, asks what they have, and fetches
// from several at once. model/bring-chunks.ts and repo.ts call it; chunk-claims.ts says what is believed,
// chunk-exchange.ts whom to ask for what, weight-asker.ts asks.
import { toHex } from '../base/bytes.ts'
import { deadline, sleep, type Clock } from '../base/clock.ts'
import { AppError, corrupt, protocolError, toAppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { hashLikeBytes } from '../model/hash-file.ts'
import type { ListedFile } from '../model/hub-tree.ts'
import type {
  BringRequest,
  Brought,
  FileHolders,
  ModelPeers,
  NamedWeights,
  SharedFile
} from '../model/model-peers.ts'
import { catalogueCodec, holdingCodec } from '../wire/codec-weights.ts'
import { decodeMessage } from '../wire/codecs.ts'
import type { PeerLink } from '../wire/link.ts'
import { LIMITS } from '../wire/protocol.ts'
import type { Catalogue, CataloguedFile, Holding } from '../wire/types.ts'
import { whyNot } from './capability.ts'
import { judgeClaims } from './chunk-claims.ts'
import { ChunkExchange, type ChunkPeer } from './chunk-exchange.ts'
import { HashClaims } from './hash-claims.ts'
import type { SwarmNode } from './node.ts'
import { wordTopic } from './topics.ts'
import type { WeightAsker } from './weight-asker.ts'

export interface WeightPeersOptions {
  /** The node, once it is ready; asked for when something is missing. */
  node: () => Promise<SwarmNode>
  asker: WeightAsker
  clock: Clock
  random: Random
  log: Log
}

/** Peers that are used at once; more cost links, and a swarm of thousands has enough in any sixteen. */
const MAX_PEERS = 16
/** Of these the sixteen are chosen by chance, so that who announces first gains nothing. */
const MAX_FOUND = 128
const FIND_MS = 3000
const CONNECT_MS = 5000
/** How long who was found, or that nobody was, is good for. */
const FOUND_MS = 30_000
const BUSY_TRIES = 8
const BUSY_MS = 1000

interface Found {
  readonly links: Promise<readonly PeerLink[]>
  readonly atMs: number
}

interface Holder {
  readonly link: PeerLink
  readonly holding: Holding
}

export class WeightPeers implements ModelPeers {
  readonly #options: WeightPeersOptions
  readonly #found = new Map<string, Found>()
  /** Gave or said what is wrong: good for blocks perhaps, not for weights. */
  readonly #avoided = new Set<string>()

  constructor(options: WeightPeersOptions) {
    this.#options = options
  }

  /** Another node is asked from now on: links of the last one are of no use. */
  forget(): void {
    this.#found.clear()
  }

  async lookUp(word: string, signal?: AbortSignal): Promise<NamedWeights | undefined> {
    const isId = /^[0-9a-f]{64}$/.test(word)
    const groups = new Map<string, { catalogue: Catalogue; count: number }>()
    await this.#each(await this.#find(word, signal), async (link) => {
      const { payloadBytes: maxBytes } = LIMITS
      const answer = await this.#ask(link, { what: 'catalogue', name: word }, { maxBytes, signal })
      const catalogue = decodeMessage(catalogueCodec, answer)
      if (isId && toHex(catalogue.model) !== word) {
        throw protocolError(`it is asked for ${word} and offers ${toHex(catalogue.model)}`)
      }
      const key = fingerprint(catalogue)
      const group = groups.get(key) ?? { catalogue, count: 0 }
      groups.set(key, group)
      group.count++
    })
    const all = [...groups.values()].sort((a, b) => b.count - a.count)
    const [first] = all
    if (!first) return undefined
    if (all.length > 1) throw contradicted(word, all)
    const { model, kind, small, weights } = first.catalogue
    return {
      id: toHex(model),
      kind,
      small: small.map(listed),
      weights: weights.map(listed),
      vouchers: first.count
    }
  }

  async readFile(
    file: ListedFile,
    word: string,
    signal?: AbortSignal
  ): Promise<Uint8Array | undefined> {
    for (const link of await this.#find(word, signal)) {
      try {
        const bytes = new Uint8Array(file.sizeBytes)
        for (let start = 0; start < bytes.byteLength; start += LIMITS.wantBytes) {
          const count = Math.min(LIMITS.wantBytes, bytes.byteLength - start)
          bytes.set(await this.#bytes(link, file.hash, { start, count, signal }), start)
        }
        if (hashLikeBytes(file.hash, bytes) === file.hash) return bytes
        this.#avoid(link.peer, `a wrong '${file.path}'`)
      } catch (error) {
        this.#failed(link, error, signal)
      }
    }
    return undefined
  }

  async holdersOf(file: SharedFile, signal?: AbortSignal): Promise<FileHolders | undefined> {
    const holders: Holder[] = []
    await this.#each(await this.#find(file.word, signal), async (link) => {
      const { payloadBytes: maxBytes } = LIMITS
      const question = { what: 'holding', name: file.sha256 } as const
      const holding = decodeMessage(
        holdingCodec,
        await this.#ask(link, question, { maxBytes, signal })
      )
      const isSame = holding.sizeBytes === file.sizeBytes && holding.chunkBytes === file.chunkBytes
      if (isSame) holders.push({ link, holding })
    })
    if (holders.length === 0) return undefined
    return { count: holders.length, bring: (request) => this.#bring(file, holders, request) }
  }

  async #bring(file: SharedFile, all: readonly Holder[], request: BringRequest): Promise<Brought> {
    const { wanted, known, keep, leastSpeed, signal } = request
    const holders = all.filter(({ link }) => !link.closed && !this.#avoided.has(link.peer))
    const claims = new Map<string, HashClaims>()
    await this.#each(
      holders.map(({ link }) => link),
      async (link) => {
        const holding = holders.find((each) => each.link === link)?.holding
        if (!holding) return
        const about = [...wanted, ...known.keys()]
        claims.set(
          link.peer,
          await HashClaims.ask(about, holding, (start, count) => {
            const question = { what: 'hashes', name: file.sha256, start, count } as const
            return this.#ask(link, question, { maxBytes: count * 32, signal })
          })
        )
      }
    )
    const truth = new Map([...known].map(([index, hash]) => [index, toHex(hash)]))
    const asClaims = [...claims].map(([peer, each]) => ({
      peer,
      hash: (index: number) => each.hash(index)
    }))
    const verdict = judgeClaims(wanted, asClaims, truth)
    for (const liar of verdict.liars) this.#avoid(liar, `hashes of '${file.path}' that are wrong`)
    const exchange = new ChunkExchange({
      wanted: verdict.accepted,
      peers: holders
        .filter(({ link }) => !this.#avoided.has(link.peer))
        .map((holder) => this.#chunkPeer(file, holder)),
      keep,
      onwrong: (peer, index) => this.#avoid(peer, `a wrong chunk ${index} of '${file.path}'`),
      random: this.#options.random,
      clock: this.#options.clock,
      signal,
      leastSpeed
    })
    const { came, givers } = await exchange.run()
    const dispute = verdict.dispute && disputeText(verdict, holders)
    return { count: came, givers, vouchers: verdict.vouchers, dispute }
  }

  #chunkPeer(file: SharedFile, { link, holding }: Holder): ChunkPeer {
    const { sizeBytes, chunkBytes } = file
    return {
      id: link.peer,
      has: (index) => holding.isWhole || bit(holding.held, index),
      fetch: async (index, signal) => {
        const start = index * chunkBytes
        const end = Math.min(start + chunkBytes, sizeBytes)
        const bytes = new Uint8Array(end - start)
        for (let at = start; at < end; at += LIMITS.wantBytes) {
          const count = Math.min(LIMITS.wantBytes, end - at)
          bytes.set(await this.#bytes(link, file.sha256, { start: at, count, signal }), at - start)
        }
        return bytes
      }
    }
  }

  async #bytes(
    link: PeerLink,
    name: string,
    part: { start: number; count: number; signal: AbortSignal | undefined }
  ): Promise<Uint8Array> {
    const { start, count, signal } = part
    const question = { what: 'bytes', name, start, count } as const
    const bytes = await this.#options.asker.ask(link, question, { maxBytes: count, signal })
    if (bytes.byteLength !== count) throw protocolError('The peer gives less than was asked for')
    return bytes
  }

  /** Asks again while the peer is busy: it may be hashing. */
  async #ask(
    link: PeerLink,
    question: Parameters<WeightAsker['ask']>[1],
    options: Parameters<WeightAsker['ask']>[2]
  ): Promise<Uint8Array> {
    const { asker, clock } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        return await asker.ask(link, question, options)
      } catch (error) {
        if (toAppError(error).code !== 'BUSY' || tries >= BUSY_TRIES) throw error
        await sleep(BUSY_MS, { clock, ...(options.signal ? { signal: options.signal } : {}) })
      }
    }
  }

  /** All at once; who fails is left out. @throws AppError CANCELLED */
  async #each(links: readonly PeerLink[], ask: (link: PeerLink) => Promise<void>): Promise<void> {
    await Promise.all(
      links.map(async (link) => {
        try {
          await ask(link)
        } catch (error) {
          this.#failed(link, error)
        }
      })
    )
  }

  #failed(link: PeerLink, error: unknown, signal?: AbortSignal): void {
    const { code, message } = toAppError(error)
    if (code === 'CANCELLED' || signal?.aborted) throw error
    if (code === 'PROTOCOL' || code === 'LIMIT') this.#avoid(link.peer, message)
    else this.#options.log.debug(`no weights from ${link.peer.slice(0, 8)}: ${message}`)
  }

  #avoid(peer: string, why: string): void {
    if (this.#avoided.has(peer)) return
    this.#avoided.add(peer)
    this.#options.log.warn(`no weights are taken from ${peer.slice(0, 8)} any more: it gave ${why}`)
  }

  async #find(word: string, signal: AbortSignal | undefined): Promise<readonly PeerLink[]> {
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
    const { log, random } = this.#options
    let node: SwarmNode
    try {
      node = await this.#options.node()
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

function bit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
}

function listed({ path, sizeBytes, sha256 }: CataloguedFile): ListedFile {
  return { path, sizeBytes, hash: toHex(sha256) }
}

/** Equal for those who mean the same files, whatever they call the weights. */
function fingerprint({ model, kind, small, weights }: Catalogue): string {
  const files = small.map(({ path, sha256 }) => `${path} ${toHex(sha256)}`).toSorted()
  const hashes = weights.map(({ sizeBytes, sha256 }) => `${sizeBytes} ${toHex(sha256)}`)
  return JSON.stringify([toHex(model), kind, files, hashes])
}

function contradicted(
  word: string,
  sides: readonly { catalogue: Catalogue; count: number }[]
): AppError {
  const said = sides.map(({ catalogue, count }) => `${toHex(catalogue.model)} (${count})`)
  return corrupt(`Servers contradict each other on what '${word}' is: ${said.join(', ')}`, {
    hint: 'Give the content id that you trust in place of the name, or wait for the hub'
  })
}

function disputeText(
  { dispute, disputed }: ReturnType<typeof judgeClaims>,
  holders: readonly Holder[]
): string {
  const nameOf = (peer: string): string => {
    const root = holders.find(({ link }) => link.peer === peer)?.holding.root
    return `${peer.slice(0, 8)}${root ? ` with root ${toHex(root)}` : ''}`
  }
  const sides = [...(dispute?.sides.values() ?? [])].map((peers) => peers.map(nameOf).join(', '))
  return `peers contradict each other about ${disputed} chunks: ${sides.join(' against ')}`
}
