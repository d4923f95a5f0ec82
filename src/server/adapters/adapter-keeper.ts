// The adapters of a span in bounded memory: asked for when a session needs one that is not here,
// checked part by part, dropped when room is needed and no session runs with them. Nothing is
// written to disk. Called by session-keeper.ts. Knows no links: a source gives what is asked for.
import { toHex } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import {
  badInput,
  busy,
  noMemory,
  notFound,
  protocolError,
  toAppError,
  unsupported
} from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Weighted } from '../../blocks/adapters/adapter-types.ts'
import type { ComputeApi, SpanInfo } from '../../blocks/types.ts'
import { hasOnlyNumbers } from '../../blocks/finite.ts'
import type { ModelConfig } from '../../model/types.ts'
import {
  checkManifest,
  floatsFrom,
  hashOf,
  isPart,
  partBytes,
  PartsOfSpan,
  type AdapterSource
} from '../../weights/adapters/adapter-pack.ts'
import { adapterCodec } from '../../wire/codec/adapter.ts'
import { decodeMessage } from '../../wire/codec/encode.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { AdapterManifest, WireAdapter } from '../../wire/types.ts'

export interface AdapterKeeperOptions {
  readonly compute: Pick<ComputeApi, 'loadAdapter' | 'unloadAdapter'>
  readonly span: SpanInfo
  readonly config: ModelConfig
  /** The model's content id, 32 bytes. */
  readonly model: Uint8Array
  /** Most memory for adapters, bytes. */
  readonly limitBytes: number
  /** Frees kept prefixes that were computed with an adapter. */
  readonly forget: (name: string) => Promise<void>
  readonly clock: Clock
  readonly log: Log
}

/** An adapter that is here, for `petals status` and monitors. */
export interface KeptAdapter {
  /** Hex of its content id. */
  readonly name: string
  readonly sizeBytes: number
  /** Sessions that run with it. */
  readonly sessions: number
  /** It was given to the server for everybody, and stays. */
  readonly isOwn: boolean
}

/** Adapters that a session runs with, until it is released. */
export interface HeldAdapters {
  /** Names them and what each counts. */
  readonly key: string
  /** Hex of their ids. */
  readonly names: readonly string[]
  /** Numbers of the engine. */
  readonly adapters: readonly Weighted<number>[]
  release(): void
}

interface Entry {
  readonly name: string
  /** Of the engine. */
  readonly adapter: number
  readonly sizeBytes: number
  readonly isOwn: boolean
  sessions: number
  usedAt: number
}

/** More on their way at once would fill the memory with numbers that nobody can use yet. */
const MOST_LOADING = 4
const BUSY_MS = 2_000
/** Whoever gives one slower than this keeps others from giving theirs. */
const LEAST_BYTES_PER_S = 64 * 1024
const LEAST_MS = 60_000

export class AdapterKeeper {
  readonly #options: AdapterKeeperOptions
  readonly #entries = new Map<string, Entry>()
  readonly #loading = new Map<string, Promise<Entry>>()
  /** Taken by those that are on their way. */
  #promisedBytes = 0

  constructor(options: AdapterKeeperOptions) {
    this.#options = options
  }

  /** Whether this span's engine can use adapters. */
  get isAble(): boolean {
    return this.#options.span.adapts === true && this.#options.limitBytes > 0
  }

  get usedBytes(): number {
    return [...this.#entries.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  get all(): readonly KeptAdapter[] {
    return [...this.#entries.values()].map(({ name, sizeBytes, sessions, isOwn }) => {
      return { name, sizeBytes, sessions, isOwn }
    })
  }

  /**
   * Adapters for a session, asked for where they are not here.
   * @throws AppError UNSUPPORTED, NO_MEMORY, BUSY, PROTOCOL, or as the source refuses
   */
  async take(wanted: readonly WireAdapter[], source: AdapterSource): Promise<HeldAdapters> {
    if (!this.isAble) throw unsupported('The server cannot use adapters')
    const names = wanted.map(({ id }) => toHex(id))
    if (new Set(names).size < names.length) {
      throw badInput('A session cannot run with the same adapter twice: give it one weight')
    }
    const held: Entry[] = []
    try {
      for (const name of names) held.push(await this.#hold(name, source))
    } catch (error) {
      for (const entry of held) entry.sessions--
      throw error
    }
    const adapters = held.map(({ adapter }, i) => ({ adapter, weight: wanted[i]?.weight ?? 1 }))
    let isReleased = false
    const release = (): void => {
      if (isReleased) return
      isReleased = true
      for (const entry of held) entry.sessions--
    }
    return { key: adaptersKey(wanted), names, adapters, release }
  }

  /** Takes an adapter for everybody, which stays. @throws AppError as take() */
  async preload(name: string, source: AdapterSource): Promise<void> {
    if (!this.isAble) throw unsupported('The server cannot use adapters')
    await this.#load(name, source, true)
  }

  /** An adapter with one more session, which keeps it from being dropped. */
  async #hold(name: string, source: AdapterSource): Promise<Entry> {
    for (;;) {
      const found = this.#entries.get(name)
      if (found !== undefined) {
        found.sessions++
        found.usedAt = this.#options.clock.now()
        return found
      }
      const loading = this.#loading.get(name)
      if (loading === undefined) await this.#load(name, source, false)
      // What one peer failed to give may be asked of another.
      else await loading.catch(() => undefined)
    }
  }

  #load(name: string, source: AdapterSource, isOwn: boolean): Promise<Entry> {
    if (this.#loading.size >= MOST_LOADING) {
      throw busy('The server is being given as many adapters as it can take at once', {
        retryAfterMs: BUSY_MS
      })
    }
    const loading = this.#fetch(name, source, isOwn).finally(() => this.#loading.delete(name))
    this.#loading.set(name, loading)
    return loading
  }

  async #fetch(name: string, source: AdapterSource, isOwn: boolean): Promise<Entry> {
    const { compute, span, config, clock, log } = this.#options
    const stop = new AbortController()
    const { signal } = stop
    let stopTimer = clock.after(LEAST_MS, () => stop.abort())
    let sizeBytes = 0
    try {
      const manifest = this.#read(name, await source.manifest(name, signal))
      const neededBytes = this.#sizeOf(manifest)
      await this.#takeRoom(neededBytes)
      sizeBytes = neededBytes
      stopTimer()
      const mostMs = LEAST_MS + (1000 * sizeBytes) / LEAST_BYTES_PER_S
      stopTimer = clock.after(mostMs, () => stop.abort())
      const parts = new PartsOfSpan(manifest, config, span)
      for (let block = span.start; block < span.end; block++) {
        const place = { index: block, sizeBytes: partBytes(manifest, config, block) }
        const bytes = await source.part(name, place, signal)
        if (!isPart(manifest, block, bytes)) {
          throw protocolError(`An adapter is refused: its part of block ${block} is another`)
        }
        if (!hasOnlyNumbers(floatsFrom(bytes, manifest.dtype))) {
          throw badInput('An adapter is refused: it has values that are no numbers')
        }
        parts.add(block - span.start, bytes)
      }
      const { adapter } = await compute.loadAdapter(span.span, parts.adapter)
      const entry = { name, adapter, sizeBytes, isOwn, sessions: 0, usedAt: clock.now() }
      this.#entries.set(name, entry)
      log.debug(`adapter ${name.slice(0, 8)} is here: ${sizeBytes} bytes`)
      return entry
    } finally {
      stopTimer()
      this.#promisedBytes -= sizeBytes
    }
  }

  /** What an adapter says of itself. @throws AppError */
  #read(name: string, bytes: Uint8Array): AdapterManifest {
    if (toHex(hashOf(bytes)) !== name) {
      throw protocolError('An adapter is refused: it is not the one that was asked for')
    }
    const { config, model } = this.#options
    const manifest = decodeMessage(adapterCodec, bytes)
    if (Buffer.compare(manifest.model, model) !== 0) {
      throw notFound('An adapter is refused: it belongs to another model')
    }
    const count = config.blockCount + (manifest.positions > 0 ? 1 : 0)
    if (manifest.parts.length !== count) {
      throw badInput('An adapter is refused: it has another number of blocks than the model')
    }
    checkManifest(manifest, config)
    return manifest
  }

  /** As the engine holds it: ranks are filled up to a multiple of 16. */
  #sizeOf({ shape, positions, deep }: AdapterManifest): number {
    const { config, span } = this.#options
    const padded = shape && { ...shape, rank: Math.ceil(shape.rank / 16) * 16 }
    const about = { model: new Uint8Array(0), dtype: 'f32', positions, parts: [] } as const
    const each = partBytes(
      { ...about, ...(padded ? { shape: padded } : {}), ...(deep ? { deep } : {}) },
      config,
      span.start
    )
    return each * (span.end - span.start)
  }

  /** Takes room, dropping those that were used longest ago. @throws AppError NO_MEMORY */
  async #takeRoom(sizeBytes: number): Promise<void> {
    const { limitBytes } = this.#options
    if (sizeBytes > limitBytes) {
      throw noMemory(
        `An adapter of ${sizeBytes} bytes cannot be held: ${limitBytes} are for all of them`,
        { retryable: false, hint: 'Use a server with more --adapter-memory' }
      )
    }
    while (this.usedBytes + this.#promisedBytes + sizeBytes > limitBytes) {
      const unused = [...this.#entries.values()].filter((one) => one.sessions === 0 && !one.isOwn)
      const [oldest] = unused.sort((a, b) => a.usedAt - b.usedAt)
      if (oldest === undefined) {
        throw noMemory('An adapter cannot be held: sessions run with those that are here', {
          retryable: true
        })
      }
      await this.#drop(oldest)
    }
    this.#promisedBytes += sizeBytes
  }

  async #drop(entry: Entry): Promise<void> {
    this.#entries.delete(entry.name)
    const { compute, forget, log } = this.#options
    await forget(entry.name)
    await compute.unloadAdapter(entry.adapter).catch((error: unknown) => {
      log.debug(`an adapter was not freed: ${toAppError(error).message}`)
    })
  }

  /** Beginnings of the ids of those that are here for everybody. */
  get announced(): readonly Uint8Array[] {
    const own = [...this.#entries.values()].filter(({ isOwn }) => isOwn)
    return own.slice(0, LIMITS.namedAdapters).map(({ name }) => {
      return new Uint8Array(Buffer.from(name.slice(0, 16), 'hex'))
    })
  }
}

/** Names what a session's adapters are and count; empty without any. */
export function adaptersKey(adapters: readonly WireAdapter[] = []): string {
  return adapters.map(({ id, weight }) => `${toHex(id)} ${weight}`).join(', ')
}
