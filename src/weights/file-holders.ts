// The peers that have chunks of one file: decides what to believe of their claims, and fetches from
// several at once. weight-peers.ts makes it; chunk-claims.ts judges, chunk-exchange.ts fetches.
import { toHex } from '../base/bytes.ts'
import { protocolError } from '../base/errors.ts'
import { manifestRoot } from '../model/store/manifest.ts'
import type { BringRequest, Brought, FileHolders, SharedFile } from '../model/hub/model-peers.ts'
import type { PeerLink } from '../wire/link.ts'
import { LIMITS } from '../wire/protocol.ts'
import type { Holding } from '../wire/types.ts'
import { judgeClaims, type PeerClaims, type Verdict } from './chunk-claims.ts'
import { ChunkExchange, type ChunkPeer } from './chunk-exchange.ts'
import { HashClaims } from './hash-claims.ts'
import type { WeightQuestions } from './weight-questions.ts'

export interface Holder {
  readonly link: PeerLink
  readonly holding: Holding
}

export class PeerHolders implements FileHolders {
  readonly #file: SharedFile
  readonly #holders: readonly Holder[]
  readonly #questions: WeightQuestions
  readonly #ongave: (peers: readonly string[]) => void

  /** `ongave`: called with the peers that gave chunks. */
  constructor(
    file: SharedFile,
    holders: readonly Holder[],
    questions: WeightQuestions,
    ongave: (peers: readonly string[]) => void
  ) {
    this.#file = file
    this.#holders = holders
    this.#questions = questions
    this.#ongave = ongave
  }

  get count(): number {
    return this.#holders.length
  }

  async bring(request: BringRequest): Promise<Brought> {
    const { wanted, keep, leastSpeed, signal } = request
    const file = this.#file
    const { finder, options } = this.#questions
    const { random, clock } = options
    const isGood = ({ link }: Holder): boolean => !link.closed && !finder.isAvoided(link.peer)
    const holders = this.#holders.filter(isGood)
    const pinned = file.roots ? await this.#pinned(holders, signal) : undefined
    if (file.roots && !pinned) {
      const dispute = 'no peer has the manifest that was named'
      return { count: 0, givers: 0, vouchers: 0, dispute }
    }
    const verdict = pinned
      ? { accepted: only(pinned, wanted), vouchers: Infinity, dispute: undefined, disputed: 0 }
      : await this.#judge(holders, request)
    const exchange = new ChunkExchange({
      wanted: verdict.accepted,
      peers: holders.filter(isGood).map((holder) => this.#chunkPeer(holder)),
      keep: (index, bytes) => keep(index, bytes, pinned !== undefined),
      onwrong: (peer, index) => finder.avoid(peer, `a wrong chunk ${index} of '${file.path}'`),
      random,
      clock,
      signal,
      leastSpeed
    })
    const { came, givers } = await exchange.run()
    this.#ongave(givers)
    const dispute = verdict.dispute && disputeText(verdict.dispute, verdict.disputed, holders)
    return { count: came, givers: givers.length, vouchers: verdict.vouchers, dispute }
  }

  /** Which claims of the peers are believed about the chunks that are wanted. */
  async #judge(
    holders: readonly Holder[],
    { wanted, known, signal }: BringRequest
  ): Promise<Verdict> {
    const about = [...wanted, ...known.keys()]
    const claims: PeerClaims[] = []
    await this.#eachHolder(holders, async (holder) => {
      const said = await this.#hashes(holder, about, signal)
      claims.push({ peer: holder.link.peer, hash: (index) => said.hash(index) })
    })
    const truth = new Map([...known].map(([index, hash]) => [index, toHex(hash)]))
    const verdict = judgeClaims(wanted, claims, truth)
    for (const liar of verdict.liars) {
      this.#questions.finder.avoid(liar, `hashes of '${this.#file.path}' that are wrong`)
    }
    return verdict
  }

  /** All hashes of a file, from a peer that has a manifest with one of the given roots. */
  async #pinned(
    holders: readonly Holder[],
    signal: AbortSignal | undefined
  ): Promise<HashClaims | undefined> {
    const file = this.#file
    let found: HashClaims | undefined
    const all = Array.from({ length: Math.ceil(file.sizeBytes / file.chunkBytes) }, (_, i) => i)
    const named = holders.filter(
      ({ holding: { root } }) => root && file.roots?.includes(toHex(root))
    )
    await this.#eachHolder(named, async (holder) => {
      const said = await this.#hashes(holder, all, signal)
      const hashes = new Uint8Array(all.length * 32)
      for (const index of all) hashes.set(Uint8Array.fromHex(said.hash(index) ?? ''), index * 32)
      const root = toHex(manifestRoot({ ...file, count: all.length, hashes }))
      if (!file.roots?.includes(root)) throw protocolError('it claims a manifest that it has not')
      found = said
    })
    return found
  }

  #hashes(
    { link, holding }: Holder,
    about: readonly number[],
    signal: AbortSignal | undefined
  ): Promise<HashClaims> {
    return HashClaims.ask(about, holding, (start, count) => {
      const question = { what: 'hashes', name: this.#file.sha256, start, count } as const
      return this.#questions.ask(link, question, { maxBytes: count * 32, signal })
    })
  }

  #eachHolder(holders: readonly Holder[], ask: (holder: Holder) => Promise<void>): Promise<void> {
    const byLink = new Map(holders.map((holder) => [holder.link, holder]))
    return this.#questions.each([...byLink.keys()], async (link) => {
      const holder = byLink.get(link)
      if (holder) await ask(holder)
    })
  }

  #chunkPeer({ link, holding }: Holder): ChunkPeer {
    const { sizeBytes, chunkBytes, sha256 } = this.#file
    return {
      id: link.peer,
      has: (index) => holding.isWhole || bit(holding.held, index),
      fetch: async (index, signal) => {
        const start = index * chunkBytes
        const end = Math.min(start + chunkBytes, sizeBytes)
        const bytes = new Uint8Array(end - start)
        for (let at = start; at < end; at += LIMITS.wantBytes) {
          const count = Math.min(LIMITS.wantBytes, end - at)
          const part = { start: at, count, signal }
          bytes.set(await this.#questions.bytes(link, sha256, part), at - start)
        }
        return bytes
      }
    }
  }
}

function bit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
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
