// Fetches chunks from several peers at once: which peer is asked for which chunk, and what happens
// with a wrong chunk, a slow peer or a busy one. Ends when all chunks are here or no peer is left
// that has one. Knows no links: weight-peers.ts passes a function that asks a peer.
import type { Clock } from '../base/clock.ts'
import { cancelled, toAppError } from '../base/errors.ts'
import type { Random } from '../base/random.ts'
import { rarestFirst } from './rarest-first.ts'

export interface ChunkPeer {
  readonly id: string
  has(index: number): boolean
  /**
   * @throws AppError NOT_FOUND: it does not have this one; BUSY: ask later; anything else: it is
   * asked no more
   */
  fetch(index: number, signal: AbortSignal): Promise<Uint8Array>
}

export interface ExchangeOptions {
  /** Hex of the SHA-256 of each wanted chunk. */
  wanted: ReadonlyMap<number, string>
  peers: readonly ChunkPeer[]
  keep: (index: number, bytes: Uint8Array) => Promise<void>
  /** Called when a peer gave a chunk that does not have the right hash. */
  onwrong: (peer: string, index: number) => void
  random: Random
  clock: Clock
  signal?: AbortSignal | undefined
  /**
   * Ends when all peers together are slower than this for ten seconds, bytes a second. Default:
   * never.
   */
  leastSpeed?: number | undefined
  /** Chunks asked of one peer at a time. Default 4: one on its way, one being read, two waiting. */
  pipeline?: number
}

export interface ExchangeResult {
  readonly came: number
  /** Peers that gave chunks. */
  readonly givers: readonly string[]
}

const PIPELINE = 4
const BUSY_MS = 500
/** A peer that stays busy for so long is left for other peers. */
const MOST_BUSY = 20
const WINDOW_MS = 10_000

interface Peer {
  readonly source: ChunkPeer
  readonly asked: Set<number>
  /** Chunks that it said it does not have. */
  readonly lacks: Set<number>
  busy: number
  waiting: boolean
  gone: boolean
  gave: number
}

export class ChunkExchange {
  readonly #options: ExchangeOptions
  readonly #peers: Peer[]
  /** Neither here nor requested from anybody, in the order in which they are wanted. */
  readonly #pending: Set<number>
  /** How many peers each chunk is requested from. */
  readonly #asked = new Map<number, number>()
  readonly #stop = new AbortController()
  readonly #done: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #timers = new Set<() => void>()
  readonly #keeping = new Set<Promise<void>>()
  #came = 0
  #bytes = 0
  #failure: unknown

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#peers = options.peers.map((source) => ({
      source,
      asked: new Set(),
      lacks: new Set(),
      busy: 0,
      waiting: false,
      gone: false,
      gave: 0
    }))
    this.#pending = new Set(rarestFirst([...options.wanted.keys()], options.peers, options.random))
  }

  /** @throws AppError CANCELLED, or what keep() threw */
  async run(): Promise<ExchangeResult> {
    const { signal } = this.#options
    const onabort = (): void => this.#end(cancelled('Fetching from peers was cancelled'))
    signal?.addEventListener('abort', onabort, { once: true })
    if (signal?.aborted) onabort()
    this.#watchSpeed()
    this.#pump()
    await this.#done.promise
    signal?.removeEventListener('abort', onabort)
    for (const stop of this.#timers) stop()
    await Promise.allSettled(this.#keeping)
    if (this.#failure !== undefined) throw this.#failure
    const givers = this.#peers.filter(({ gave }) => gave > 0).map(({ source }) => source.id)
    return { came: this.#came, givers }
  }

  #end(failure?: unknown): void {
    this.#failure ??= failure
    this.#stop.abort()
    this.#done.resolve()
  }

  #pump(): void {
    if (this.#stop.signal.aborted) return
    const { pipeline = PIPELINE } = this.#options
    // Peers take turns, so that the first of them does not take all chunks.
    for (let round = 0; round < pipeline; round++) {
      for (const peer of this.#peers) {
        if (peer.gone || peer.waiting || peer.asked.size > round) continue
        const index = this.#next(peer)
        if (index !== undefined) void this.#ask(peer, index)
      }
    }
    const isIdle =
      this.#asked.size === 0 &&
      this.#keeping.size === 0 &&
      !this.#peers.some((peer) => this.#mayYet(peer))
    if (isIdle) this.#end()
  }

  /** Whether a waiting peer has something that is still wanted. */
  #mayYet(peer: Peer): boolean {
    return peer.waiting && !peer.gone && [...this.#pending].some((index) => has(peer, index))
  }

  /**
   * The first chunk that it has; near the end also a chunk that is slow to come from others,
   * requested from one more peer.
   */
  #next(peer: Peer): number | undefined {
    for (const index of this.#pending) if (has(peer, index)) return index
    if (this.#pending.size > 0) return undefined
    for (const [index, count] of this.#asked) {
      if (count === 1 && !peer.asked.has(index) && has(peer, index)) return index
    }
    return undefined
  }

  async #ask(peer: Peer, index: number): Promise<void> {
    this.#pending.delete(index)
    this.#asked.set(index, (this.#asked.get(index) ?? 0) + 1)
    peer.asked.add(index)
    try {
      const bytes = await peer.source.fetch(index, this.#stop.signal)
      if (!this.#stop.signal.aborted) await this.#take(peer, index, bytes)
    } catch (error) {
      this.#refused(peer, index, toAppError(error).code)
    } finally {
      peer.asked.delete(index)
      this.#release(index)
      this.#pump()
    }
  }

  async #take(peer: Peer, index: number, bytes: Uint8Array): Promise<void> {
    const { wanted, onwrong, keep } = this.#options
    // Another peer may have been faster.
    if (!this.#asked.has(index) || peer.gone) return
    const hash = new Bun.CryptoHasher('sha256').update(bytes).digest('hex')
    if (hash !== wanted.get(index)) {
      peer.gone = true
      return onwrong(peer.source.id, index)
    }
    peer.busy = 0
    peer.gave++
    this.#came++
    this.#bytes += bytes.byteLength
    this.#asked.delete(index)
    // A full disk is our problem, not the peer's.
    const keeping = keep(index, bytes).catch((error: unknown) => this.#end(error))
    this.#keeping.add(keeping)
    await keeping
    this.#keeping.delete(keeping)
  }

  /** One request less for a chunk; when none is left and it did not come, it is wanted again. */
  #release(index: number): void {
    const count = this.#asked.get(index)
    if (count === undefined) return
    if (count > 1) this.#asked.set(index, count - 1)
    else {
      this.#asked.delete(index)
      this.#pending.add(index)
    }
  }

  #refused(peer: Peer, index: number, code: string): void {
    if (code === 'NOT_FOUND') peer.lacks.add(index)
    else if (code === 'BUSY' && ++peer.busy <= MOST_BUSY) this.#wait(peer)
    else peer.gone = true
  }

  #wait(peer: Peer): void {
    if (peer.waiting) return
    peer.waiting = true
    this.#after(BUSY_MS, () => {
      peer.waiting = false
      this.#pump()
    })
  }

  #watchSpeed(): void {
    const { leastSpeed } = this.#options
    if (leastSpeed === undefined) return
    const before = this.#bytes
    this.#after(WINDOW_MS, () => {
      if ((this.#bytes - before) / (WINDOW_MS / 1000) < leastSpeed) this.#end()
      else this.#watchSpeed()
    })
  }

  #after(ms: number, callback: () => void): void {
    const stop = this.#options.clock.after(ms, () => {
      this.#timers.delete(stop)
      callback()
    })
    this.#timers.add(stop)
  }
}

function has(peer: Peer, index: number): boolean {
  return !peer.lacks.has(index) && peer.source.has(index)
}
