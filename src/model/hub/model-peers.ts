// What the model room needs of other peers to fetch from them; weights/weight-peers.ts is it.
// Everything that they say is a claim: bring-chunks.ts and repo.ts decide what is believed.
import type { ListedFile } from './hub-tree.ts'

/** A file by its facts, which came from its source or with the model's id. */
export interface SharedFile {
  /** Names it in messages. */
  readonly path: string
  /** Lower-case hex. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly chunkBytes: number
  /** Under which those who have it are found: WeightShelf.words. */
  readonly word: string
  /** Hex of manifests' roots that alone are believed, when the user named some. */
  readonly roots?: readonly string[] | undefined
}

/** What peers agree that a name stands for. */
export interface NamedWeights {
  /** Hex of the content id that they claim. */
  readonly id: string
  readonly kind: 'gguf' | 'folder'
  readonly small: readonly ListedFile[]
  readonly weights: readonly ListedFile[]
  /** How many peers say so, and not because others do. */
  readonly vouchers: number
}

export interface BringRequest {
  /** Chunks, by index. */
  readonly wanted: readonly number[]
  /**
   * Hashes that are known to be true, of any chunks of the file: who contradicts them is left out.
   */
  readonly known: ReadonlyMap<number, Uint8Array>
  /** Gives up peers that are slower together than this, bytes a second. Default: never. */
  readonly leastSpeed?: number | undefined
  /** Takes a chunk that hashed as it should; `isSure`: by a manifest that the user named. */
  keep(index: number, bytes: Uint8Array, isSure: boolean): Promise<void>
  readonly signal?: AbortSignal | undefined
}

export interface Brought {
  /** Chunks that came. */
  readonly count: number
  /** The fewest peers that vouched for one of them. */
  readonly vouchers: number
  /** Peers that gave some. */
  readonly givers: number
  /** What the peers contradict each other about; undefined: nothing. */
  readonly dispute?: string | undefined
}

/** Peers that have something of one file. */
export interface FileHolders {
  readonly count: number
  bring(request: BringRequest): Promise<Brought>
}

export interface ModelPeers {
  /**
   * What a name or a content id stands for; undefined when nobody knows it.
   * @throws AppError CORRUPT when peers contradict each other
   */
  lookUp(word: string, signal?: AbortSignal): Promise<NamedWeights | undefined>
  /** A whole small file, checked against its hash; undefined when nobody has it. */
  readFile(file: ListedFile, word: string, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /** What came of a file was wrong, and nobody knows who lied: who gave of it is asked no more. */
  distrust(sha256: string): void
  /** Who has chunks of a file; undefined: nobody. */
  holdersOf(file: SharedFile, signal?: AbortSignal): Promise<FileHolders | undefined>
}
