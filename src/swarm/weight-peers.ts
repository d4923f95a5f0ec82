// Other servers as a source of weights: finds them by words for a model, asks what they have, and fetches
// from several at once. model/bring-chunks.ts and repo.ts call it; chunk-claims.ts says what is believed,
// chunk-exchange.ts whom to ask for what, weight-asker.ts asks.
import { toHex } from '../base/bytes.ts'
import { sleep } from '../base/clock.ts'
import { type AppError, corrupt, protocolError, toAppError } from '../base/errors.ts'
import { hashLikeBytes } from '../model/hash-file.ts'
import type { ListedFile } from '../model/hub-tree.ts'
import { manifestRoot } from '../model/manifest.ts'
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
import { judgeClaims, type PeerClaims, type Verdict } from './chunk-claims.ts'
import { ChunkExchange, type ChunkPeer } from './chunk-exchange.ts'
import { HashClaims } from './hash-claims.ts'
import type { WeightAsker } from './weight-asker.ts'
import { WeightFinder, type WeightFinderOptions } from './weight-finder.ts'

export interface WeightPeersOptions extends WeightFinderOptions {
  asker: WeightAsker
}

const BUSY_TRIES = 8
const BUSY_MS = 1000

interface Holder {
  readonly link: PeerLink
  readonly holding: Holding
}

export class WeightPeers implements ModelPeers {
  readonly #options: WeightPeersOptions
  readonly #finder: WeightFinder
  /** Who gave chunks of a file, by its hash. */
  readonly #givers = new Map<string, Set<string>>()

  constructor(options: WeightPeersOptions) {
    this.#options = options
    this.#finder = new WeightFinder(options)
  }

  /** Another node is asked from now on: links of the last one are of no use. */
  forget(): void {
    this.#finder.forget()
  }

  async lookUp(word: string, signal?: AbortSignal): Promise<NamedWeights | undefined> {
    const isId = /^[0-9a-f]{64}$/.test(word)
    const groups = new Map<string, { catalogue: Catalogue; count: number }>()
    await this.#each(await this.#finder.find(word, signal), async (link) => {
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
    for (const link of await this.#finder.find(word, signal)) {
      try {
        const bytes = new Uint8Array(file.sizeBytes)
        for (let start = 0; start < bytes.byteLength; start += LIMITS.wantBytes) {
          const count = Math.min(LIMITS.wantBytes, bytes.byteLength - start)
          bytes.set(await this.#bytes(link, file.hash, { start, count, signal }), start)
        }
        if (hashLikeBytes(file.hash, bytes) === file.hash) return bytes
        this.#finder.avoid(link.peer, `a wrong '${file.path}'`)
      } catch (error) {
        this.#failed(link, error, signal)
      }
    }
    return undefined
  }

  distrust(sha256: string): void {
    for (const peer of this.#givers.get(sha256) ?? []) {
      this.#finder.avoid(peer, 'weights, some of which are not those of the file')
    }
    this.#givers.delete(sha256)
  }

  async holdersOf(file: SharedFile, signal?: AbortSignal): Promise<FileHolders | undefined> {
    const holders: Holder[] = []
    await this.#each(await this.#finder.find(file.word, signal), async (link) => {
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
    const { wanted, keep, leastSpeed, signal } = request
    const holders = all.filter(({ link }) => !link.closed && !this.#finder.isAvoided(link.peer))
    const pinned = file.roots ? await this.#pinned(file, holders, signal) : undefined
    if (file.roots && !pinned) {
      const dispute = 'no peer has the manifest that was named'
      return { count: 0, givers: 0, vouchers: 0, dispute }
    }
    const verdict = pinned
      ? { accepted: only(pinned, wanted), vouchers: Infinity, dispute: undefined, disputed: 0 }
      : await this.#judge(file, holders, request)
    const exchange = new ChunkExchange({
      wanted: verdict.accepted,
      peers: holders
        .filter(({ link }) => !this.#finder.isAvoided(link.peer))
        .map((holder) => this.#chunkPeer(file, holder)),
      keep: (index, bytes) => keep(index, bytes, pinned !== undefined),
      onwrong: (peer, index) =>
        this.#finder.avoid(peer, `a wrong chunk ${index} of '${file.path}'`),
      random: this.#options.random,
      clock: this.#options.clock,
      signal,
      leastSpeed
    })
    const { came, givers } = await exchange.run()
    const before = this.#givers.get(file.sha256) ?? new Set()
    this.#givers.set(file.sha256, before.union(new Set(givers)))
    const dispute = verdict.dispute && disputeText(verdict.dispute, verdict.disputed, holders)
    return { count: came, givers: givers.length, vouchers: verdict.vouchers, dispute }
  }

  /** What of the holders' word is believed about the chunks that are wanted. */
  async #judge(
    file: SharedFile,
    holders: readonly Holder[],
    { wanted, known, signal }: BringRequest
  ): Promise<Verdict> {
    const about = [...wanted, ...known.keys()]
    const claims: PeerClaims[] = []
    await this.#eachHolder(holders, async (holder) => {
      const said = await this.#hashes(file, holder, about, signal)
      claims.push({ peer: holder.link.peer, hash: (index) => said.hash(index) })
    })
    const truth = new Map([...known].map(([index, hash]) => [index, toHex(hash)]))
    const verdict = judgeClaims(wanted, claims, truth)
    for (const liar of verdict.liars) {
      this.#finder.avoid(liar, `hashes of '${file.path}' that are wrong`)
    }
    return verdict
  }

  /** All hashes of a file, from whoever has a manifest with one of the roots that were named. */
  async #pinned(
    file: SharedFile,
    holders: readonly Holder[],
    signal: AbortSignal | undefined
  ): Promise<HashClaims | undefined> {
    let found: HashClaims | undefined
    const all = Array.from({ length: Math.ceil(file.sizeBytes / file.chunkBytes) }, (_, i) => i)
    const named = holders.filter(
      ({ holding: { root } }) => root && file.roots?.includes(toHex(root))
    )
    await this.#eachHolder(named, async (holder) => {
      const said = await this.#hashes(file, holder, all, signal)
      const hashes = new Uint8Array(all.length * 32)
      for (const index of all) hashes.set(Uint8Array.fromHex(said.hash(index) ?? ''), index * 32)
      const root = toHex(manifestRoot({ ...file, count: all.length, hashes }))
      if (!file.roots?.includes(root)) throw protocolError('it claims a manifest that it has not')
      found = said
    })
    return found
  }

  #hashes(
    file: SharedFile,
    { link, holding }: Holder,
    about: readonly number[],
    signal: AbortSignal | undefined
  ): Promise<HashClaims> {
    return HashClaims.ask(about, holding, (start, count) => {
      const question = { what: 'hashes', name: file.sha256, start, count } as const
      return this.#ask(link, question, { maxBytes: count * 32, signal })
    })
  }

  #eachHolder(holders: readonly Holder[], ask: (holder: Holder) => Promise<void>): Promise<void> {
    const byLink = new Map(holders.map((holder) => [holder.link, holder]))
    return this.#each([...byLink.keys()], async (link) => {
      const holder = byLink.get(link)
      if (holder) await ask(holder)
    })
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
    if (code === 'PROTOCOL' || code === 'LIMIT') this.#finder.avoid(link.peer, message)
    else this.#options.log.debug(`no weights from ${link.peer.slice(0, 8)}: ${message}`)
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
  { sides }: NonNullable<Verdict['dispute']>,
  count: number,
  holders: readonly Holder[]
): string {
  const nameOf = (peer: string): string => {
    const root = holders.find(({ link }) => link.peer === peer)?.holding.root
    return `${peer.slice(0, 8)}${root ? ` with root ${toHex(root)}` : ''}`
  }
  const all = [...sides.values()].map((peers) => peers.map(nameOf).join(', '))
  return `peers contradict each other about ${count} chunks: ${all.join(' against ')}`
}

function only(hashes: HashClaims, wanted: readonly number[]): Map<number, string> {
  return new Map(wanted.map((index) => [index, hashes.hash(index) ?? '']))
}
