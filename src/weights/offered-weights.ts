// What this process may give of one model to others: its weight files, as far as they are here, and
// the small files beside them. Files are requested by their SHA-256 and looked up in a table that
// is made once, so that no other file can be named. Knows no peers; weight-server.ts asks it.
import { open, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import { busy, notFound, overLimit } from '../base/errors.ts'
import {
  type ChunkMap,
  fileWord,
  hasBit,
  hasChunk,
  hasRange,
  unverifiedPath,
  journalPath,
  parseChunkMap,
  setBit,
  SLOT_BYTES
} from '../model/store/chunk-map.ts'
import { recallHash } from '../model/store/file-hashes.ts'
import { sha256File } from '../model/store/hash-file.ts'
import { MAX_SMALL_BYTES } from '../model/hub/unverified-model.ts'
import { manifestOf, manifestRoot } from '../model/store/manifest.ts'
import { SMALL_FILES } from '../model/hub/repo-files.ts'
import type { Model } from '../model/types.ts'

export interface OfferedOptions {
  /** `Paths.cache`, where manifests are kept. */
  cacheDir: string
  /** Names of the model beside its content id, e.g. owner/name. */
  words?: readonly string[]
  /** The model's files are known from peers alone. */
  isUnverified?: boolean
  /** Of whole files' manifests. Default: CHUNK_BYTES. */
  chunkBytes?: number | undefined
  /** Cancels the hashing of files. */
  signal?: AbortSignal | undefined
}

export interface OfferedFile {
  readonly path: string
  readonly sizeBytes: number
  /** 32 bytes. */
  readonly sha256: Uint8Array
}

/** As wire's Catalogue. */
export interface OfferedCatalogue {
  readonly model: Uint8Array
  readonly kind: 'gguf' | 'folder'
  readonly small: readonly OfferedFile[]
  readonly weights: readonly OfferedFile[]
  readonly isUnverified?: true
}

/** As wire's Holding. */
export interface OfferedHolding {
  readonly sizeBytes: number
  readonly chunkBytes: number
  readonly isWhole: boolean
  readonly held: Uint8Array
  readonly vouched: Uint8Array
  readonly root?: Uint8Array
}

interface LocalFile {
  /** Its path on this disk. */
  readonly place: string
  readonly sha256: string
  readonly sizeBytes: number
  readonly isSmall: boolean
}

/**
 * What is known of a file's chunks, read when its journal had this time; a whole file has no
 * journal.
 */
interface Known {
  readonly journalMs: number | undefined
  readonly map: ChunkMap
  readonly unverified: Uint8Array
  readonly root: Uint8Array | undefined
  /** Made on first use. */
  holding?: OfferedHolding
}

const NAME = /^[\w.-]{1,200}\.(?:gguf|safetensors)$/
const NOT_YET_MS = 1000

export class OfferedWeights {
  readonly catalogue: OfferedCatalogue
  /** Names by which the model can be requested. */
  readonly words: readonly string[]
  readonly #files: ReadonlyMap<string, LocalFile>
  readonly #options: OfferedOptions
  readonly #known = new Map<string, Known>()
  readonly #making = new Map<string, Promise<void>>()

  private constructor(
    catalogue: OfferedCatalogue,
    files: ReadonlyMap<string, LocalFile>,
    options: OfferedOptions
  ) {
    this.catalogue = catalogue
    this.#files = files
    this.#options = options
    const first = catalogue.weights[0]
    this.words = [
      toHex(catalogue.model),
      ...(first ? [fileWord(toHex(first.sha256))] : []),
      ...(options.words ?? [])
    ]
  }

  /** Undefined for a model that need not be given: every executable carries it. */
  static async open(model: Model, options: OfferedOptions): Promise<OfferedWeights | undefined> {
    const { kind } = model.location
    if (kind === 'llama2c') return undefined
    const files = new Map<string, LocalFile>()
    const small: OfferedFile[] = []
    const weights: OfferedFile[] = []
    const [folder = ''] = model.location.paths
    for (const path of kind === 'folder' ? SMALL_FILES : []) {
      const place = join(folder, path)
      const found = await stat(place).catch(() => undefined)
      if (!found?.isFile() || found.size > MAX_SMALL_BYTES) continue
      const sha256 = await sha256File(place)
      small.push({ path, sizeBytes: found.size, sha256: Uint8Array.fromHex(sha256) })
      files.set(sha256, { place, sha256, sizeBytes: found.size, isSmall: true })
    }
    for (const [i, file] of model.files.entries()) {
      const { path: place, sizeBytes } = file
      const sha256 =
        file.claimedSha256 ??
        (await recallHash(place, options.cacheDir)) ??
        (await sha256File(place))
      const name = basename(place)
      const ending = kind === 'gguf' ? 'gguf' : 'safetensors'
      const path = NAME.test(name) ? name : `weights-${i + 1}.${ending}`
      weights.push({ path, sizeBytes, sha256: Uint8Array.fromHex(sha256) })
      files.set(sha256, { place, sha256, sizeBytes, isSmall: false })
    }
    const unverified = options.isUnverified ? ({ isUnverified: true } as const) : {}
    const catalogue = { model: model.contentId, kind, small, weights, ...unverified }
    return new OfferedWeights(catalogue, files, options)
  }

  /** Makes manifests of whole files that have none yet; until then such files cannot be given. */
  async prepare(): Promise<void> {
    for (const file of this.#files.values()) {
      if (!file.isSmall && (await journalMs(file)) === undefined) await this.#makeManifest(file)
    }
  }

  /** @throws AppError NOT_FOUND; BUSY while the file is hashed */
  async holding(sha256: string): Promise<OfferedHolding> {
    const file = this.#find(sha256)
    const known = await this.#knownOf(file)
    known.holding ??= holdingOf(known)
    return known.holding
  }

  /**
   * SHA-256 of chunks [start, start + count), zeros where this process does not vouch: (count, 32).
   */
  async hashes(sha256: string, start: number, count: number): Promise<Uint8Array> {
    const { map, unverified } = await this.#knownOf(this.#find(sha256))
    if (start + count > map.count) throw overLimit(`There are ${map.count} chunks`)
    const hashes = map.hashes.slice(start * SLOT_BYTES, (start + count) * SLOT_BYTES)
    for (let i = 0; i < count; i++) {
      if (hasBit(unverified, start + i)) hashes.fill(0, i * SLOT_BYTES, (i + 1) * SLOT_BYTES)
    }
    return hashes
  }

  /** Bytes [start, start + count) of a file. @throws AppError NOT_FOUND, LIMIT */
  async bytes(sha256: string, start: number, count: number): Promise<Uint8Array> {
    const file = this.#find(sha256)
    if (start + count > file.sizeBytes) throw overLimit(`The file has ${file.sizeBytes} bytes`)
    if (!file.isSmall && (await journalMs(file)) !== undefined) {
      const { map } = await this.#knownOf(file)
      if (!hasRange(map, { start, end: start + count })) throw notFound('That is not here')
    }
    const bytes = new Uint8Array(count)
    const data = await open(file.place, 'r')
    try {
      let filled = 0
      while (filled < count) {
        const { bytesRead } = await data.read(bytes, filled, count - filled, start + filled)
        if (bytesRead === 0) throw notFound('The file became shorter')
        filled += bytesRead
      }
    } finally {
      await data.close()
    }
    return bytes
  }

  #find(sha256: string): LocalFile {
    const file = this.#files.get(sha256)
    if (!file) throw notFound('There is no such file here')
    return file
  }

  async #knownOf(file: LocalFile): Promise<Known> {
    if (file.isSmall) throw notFound('A small file is given whole')
    const now = await journalMs(file)
    const known = this.#known.get(file.sha256)
    if (known && known.journalMs === now) return known
    if (now === undefined) {
      void this.#makeManifest(file)
      throw busy('The file is being hashed', { retryAfterMs: NOT_YET_MS })
    }
    const { place, sizeBytes } = file
    const map = parseChunkMap(await readFile(journalPath(place)), place, sizeBytes)
    const unverified = await readFile(unverifiedPath(place)).catch(() => new Uint8Array(0))
    const fresh: Known = { journalMs: now, map, unverified, root: undefined }
    this.#known.set(file.sha256, fresh)
    return fresh
  }

  /** Only one at a time; a file whose manifest fails (it was changed) is never given. */
  #makeManifest(file: LocalFile): Promise<void> {
    const { place: path, sha256, sizeBytes } = file
    const making =
      this.#making.get(sha256) ??
      manifestOf({ path, sha256, sizeBytes }, this.#options).then(
        (map) => {
          const root = manifestRoot(map)
          this.#known.set(sha256, {
            journalMs: undefined,
            map,
            unverified: new Uint8Array(0),
            root
          })
        },
        () => {}
      )
    this.#making.set(sha256, making)
    return making
  }
}

/** When the journal last changed; undefined: the file is whole. */
async function journalMs({ place }: LocalFile): Promise<number | undefined> {
  return (await stat(journalPath(place)).catch(() => undefined))?.mtimeMs
}

function holdingOf({ map, unverified, root }: Known): OfferedHolding {
  const { sizeBytes, chunkBytes, count } = map
  if (root) {
    const none = new Uint8Array(0)
    return { sizeBytes, chunkBytes, isWhole: true, held: none, vouched: none, root }
  }
  const held = new Uint8Array(Math.ceil(count / 8))
  const vouched = new Uint8Array(held.byteLength)
  for (let i = 0; i < count; i++) {
    if (!hasChunk(map, i)) continue
    setBit(held, i)
    if (!hasBit(unverified, i)) setBit(vouched, i)
  }
  return { sizeBytes, chunkBytes, isWhole: false, held, vouched }
}
