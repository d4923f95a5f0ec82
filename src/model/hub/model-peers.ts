// The interface through which the model room fetches from other peers; weights/weight-peers.ts
// implements it. Everything that peers say is a claim: bring-chunks.ts and repo.ts decide what to
// believe.
import type { ListedFile } from './hub-tree.ts'

/** A file by its facts, from its source or known with the model's content id. */
export interface SharedFile {
  /** Names it in messages. */
  readonly path: string
  /** Lower-case hex. */
  readonly sha256: string
  readonly sizeBytes: number
  readonly chunkBytes: number
  /** Word under which peers that have it are found. */
  readonly word: string
  /**
   * Roots of manifests, hex, if the user named some: only peers that have one of them are believed.
   */
  readonly roots?: readonly string[] | undefined
}

/** What peers agree that a name stands for. */
export interface NamedWeights {
  /** Content id that they claim, hex. */
  readonly id: string
  readonly kind: 'gguf' | 'folder'
  readonly small: readonly ListedFile[]
  readonly weights: readonly ListedFile[]
  /** Number of peers that say so on their own knowledge. */
  readonly vouchers: number
}

export interface BringRequest {
  /** Indexes of chunks. */
  readonly wanted: readonly number[]
  /**
   * Hashes of the file's chunks that are known to be right: peers that contradict them are ignored.
   */
  readonly known: ReadonlyMap<number, Uint8Array>
  /** Gives up if all peers together are slower than this, bytes a second. Default: never. */
  readonly leastSpeed?: number | undefined
  /**
   * Receives a chunk with the expected hash; `isSure` if the hash is from a manifest that the user
   * named.
   */
  keep(index: number, bytes: Uint8Array, isSure: boolean): Promise<void>
  readonly signal?: AbortSignal | undefined
}

export interface Brought {
  /** Chunks that were fetched. */
  readonly count: number
  /** The fewest peers that vouched for any of them. */
  readonly vouchers: number
  /** Number of peers that sent chunks. */
  readonly givers: number
  /** What peers contradict each other about; undefined if nothing. */
  readonly dispute?: string | undefined
}

/** Peers that have parts of one file. */
export interface FileHolders {
  readonly count: number
  bring(request: BringRequest): Promise<Brought>
}

export interface ModelPeers {
  /**
   * What a name or a content id stands for; undefined if nobody knows it.
   * @throws AppError CORRUPT if peers contradict each other
   */
  lookUp(word: string, signal?: AbortSignal): Promise<NamedWeights | undefined>
  /** A small file, whole, with the expected hash; undefined if nobody has it. */
  readFile(file: ListedFile, word: string, signal?: AbortSignal): Promise<Uint8Array | undefined>
  /**
   * A file from peers was wrong, and it is not known who lied: all who sent parts of it are asked
   * no more.
   */
  distrust(sha256: string): void
  /** Peers that have chunks of a file; undefined if there are none. */
  holdersOf(file: SharedFile, signal?: AbortSignal): Promise<FileHolders | undefined>
}
