// Fetches chunks of one file from peers and from the hub, each as a fallback of the other. Trust:
// the hub is believed until the file is complete and checked. While it answers, it supplies a
// random sample of what is wanted, and peers that contradict the sample are ignored; where the rest
// disagree, the hub is asked. While it is silent, a chunk is accepted if all peers that vouch for
// it agree. fetch-ranges.ts holds the locks; chunk-transfer.ts asks the hub,
// weights/weight-peers.ts the peers.
import { systemClock } from '../../base/clock.ts'
import { toAppError, unavailable } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../../base/random.ts'
import type { ChunkFile } from '../store/chunk-file.ts'
import { type ByteRange, type ChunkMap, runBytes, fileWord } from '../store/chunk-map.ts'
import { CommitPace, RangesIgnored, Transfer } from './chunk-transfer.ts'
import type { FetchRangesOptions, RemoteFile, HubState } from './fetch-options.ts'
import { bare } from './http.ts'
import type { Brought, FileHolders } from './model-peers.ts'

/**
 * Most chunks that the hub supplies before peers are believed: 4 MiB find one wrong chunk in 16 two
 * times in three.
 */
const MOST_SAMPLES = 16
const LEAST_SAMPLES = 2
const CHUNKS_A_SAMPLE = 32
/** Most hashes that peers are compared with; more would find no more liars. */
const MOST_KNOWN = 64
/** If peers are slower than this, bytes a second, a hub that answers is the better source. */
const LEAST_SPEED = 2 ** 18
/** Wait for a hub that may be silent, ms, when peers are there. */
const SILENCE_MS = 4000

export function isSilence(code: string): boolean {
  return code === 'UNAVAILABLE' || code === 'TIMEOUT' || code === 'BUSY'
}

export function bytesOf(map: ChunkMap, runs: readonly ByteRange[]): number {
  return runs.reduce((sum, run) => sum + runBytes(map, run), 0)
}

/** @throws AppError of the hub if nobody else has what is missing */
export async function bringChunks(
  remote: RemoteFile,
  file: ChunkFile,
  ranges: readonly ByteRange[],
  options: FetchRangesOptions
): Promise<void> {
  try {
    await new Bringer(remote, file, ranges, options).bring()
  } finally {
    await file.commit()
  }
}

class Bringer {
  readonly #remote: RemoteFile
  readonly #file: ChunkFile
  readonly #ranges: readonly ByteRange[]
  readonly #options: FetchRangesOptions
  readonly #random: Random
  readonly #hub: HubState
  #holders: FileHolders | undefined
  #dispute: string | undefined

  constructor(
    remote: RemoteFile,
    file: ChunkFile,
    ranges: readonly ByteRange[],
    options: FetchRangesOptions
  ) {
    this.#remote = remote
    this.#file = file
    this.#ranges = ranges
    this.#options = options
    this.#random = options.random ?? seededRandom(freshSeed())
    this.#hub = options.reach ?? { isSilent: false, isNone: false }
  }

  async bring(): Promise<void> {
    const { peers, signal, room, hubFirst = false } = this.#options
    const { roots } = this.#options
    const word = this.#options.word ?? fileWord(this.#remote.sha256)
    if (this.#missing().length === 0) return
    await room?.(bytesOf(this.#file.map, this.#missing()))
    if (!peers) return await this.#fromHub(false)
    if (hubFirst && !this.#hub.isSilent) {
      // For a small amount at the start, peers are not searched for while the hub answers.
      if (await this.#try(() => this.#fromHub(true))) return
    }
    const { path, sizeBytes, sha256 } = this.#remote
    const { chunkBytes } = this.#file.map
    this.#holders = await peers.holdersOf(
      { path, sizeBytes, sha256, chunkBytes, word, roots },
      signal
    )
    if (!this.#holders) return await this.#fromHub(false)
    if (!this.#hub.isSilent) await this.#try(() => this.#sample())
    await this.#fromPeers()
    if (this.#missing().length === 0) return
    if (await this.#try(() => this.#fromHub(this.#hub.isSilent))) return
    await this.#fromPeers()
    if (this.#missing().length > 0) throw this.#failed(this.#failure)
  }

  #failure: unknown

  /** False if the hub did not answer, which is remembered. @throws any other failure */
  async #try(ask: () => Promise<void>): Promise<boolean> {
    if (this.#hub.isNone) return false
    try {
      await ask()
      this.#hub.isSilent = false
      return true
    } catch (error) {
      if (!isSilence(toAppError(error).code)) throw error
      this.#failure = error
      this.#hub.isSilent = true
      return false
    }
  }

  #failed(cause: unknown): Error {
    const { path } = this.#remote
    const why = this.#dispute ?? 'no peer has all of it'
    const hub = cause === undefined ? '' : `${toAppError(cause).message}; `
    const hint = this.#dispute
      ? 'One of them lies: --manifest ROOT says whom to believe, petals verify prints it'
      : 'Try again when the hub answers, or when more servers are there'
    return unavailable(`'${path}' cannot be fetched: ${hub}${why}`, { hint, cause })
  }

  #missing(): ByteRange[] {
    return this.#file.missing(this.#ranges)
  }

  /**
   * Fetches some of the wanted chunks from the hub. They are kept, and peers are compared with
   * them.
   */
  async #sample(): Promise<void> {
    const wanted = indexesOf(this.#missing())
    const share = Math.ceil(wanted.length / CHUNKS_A_SAMPLE)
    const count = Math.min(MOST_SAMPLES, Math.max(LEAST_SAMPLES, share), wanted.length)
    const runs = Array.from({ length: count }, () => {
      const [index = 0] = wanted.splice(this.#random.below(wanted.length), 1)
      return { start: index, end: index + 1 }
    })
    await this.#bringRuns(runs, true)
  }

  async #fromHub(isImpatient: boolean): Promise<void> {
    if (this.#hub.isNone) throw this.#failed(undefined)
    await this.#bringRuns(this.#missing(), isImpatient)
  }

  async #bringRuns(runs: readonly ByteRange[], isImpatient: boolean): Promise<void> {
    const { log = silentLog, room } = this.#options
    const patience = isImpatient
      ? { impatient: true, answerTimeoutMs: SILENCE_MS, backoffsMs: [] }
      : {}
    const options = { ...this.#options, ...patience }
    const remote = this.#remote
    const file = this.#file
    try {
      await new Transfer(remote, file, options).bringRuns(runs)
    } catch (error) {
      await file.commit().catch(() => {})
      if (!(error instanceof RangesIgnored)) throw error
      await room?.(bytesOf(file.map, file.missing([{ start: 0, end: remote.sizeBytes }])))
      log.warn(`'${bare(remote.url)}' cannot be had in parts: all of it is fetched`)
      await new Transfer(remote, file, options).bringAll()
    }
  }

  async #fromPeers(): Promise<void> {
    const wanted = indexesOf(this.#missing())
    if (!this.#holders || wanted.length === 0) return
    const { signal, onbytes, clock = systemClock } = this.#options
    const file = this.#file
    const pace = new CommitPace(file, clock)
    const brought = await this.#holders.bring({
      wanted,
      known: this.#known(),
      ...(this.#hub.isSilent ? {} : { leastSpeed: LEAST_SPEED }),
      signal,
      async keep(index, bytes, isSure) {
        await file.write(index, bytes, !isSure)
        onbytes?.(bytes.byteLength, 'peers')
        await pace.wrote(bytes.byteLength)
      }
    })
    await file.commit()
    this.#dispute = brought.dispute
    this.#tell(brought)
  }

  #tell({ count, vouchers, givers, dispute }: Brought): void {
    const { log = silentLog, told = { isTold: false } } = this.#options
    const { path } = this.#remote
    log.debug(`'${path}': ${count} chunks from ${givers} peers, ${dispute ?? 'no dispute'}`)
    const isSure = this.#options.roots !== undefined
    if (!this.#hub.isSilent || count === 0 || told.isTold || isSure) return
    told.isTold = true
    const peers = vouchers === 1 ? 'one peer' : `${vouchers} peers`
    log.warn(`The hub does not answer: weights are taken on the word of ${peers}`)
  }

  /** Hashes of chunks that the hub supplied; a random part of them if there are many. */
  #known(): Map<number, Uint8Array> {
    const { map } = this.#file
    const all = Array.from({ length: map.count }, (_, i) => i).filter((i) =>
      this.#file.isVouched(i)
    )
    const known = new Map<number, Uint8Array>()
    while (known.size < MOST_KNOWN && all.length > 0) {
      const at = this.#random.below(all.length)
      const index = all[at] ?? 0
      known.set(index, this.#file.hash(index))
      all[at] = all.at(-1) ?? 0
      all.pop()
    }
    return known
  }
}

function indexesOf(runs: readonly ByteRange[]): number[] {
  return runs.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i))
}
