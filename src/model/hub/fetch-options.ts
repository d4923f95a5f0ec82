// A remote file of a hub, and the options for fetching it, for fetch-ranges.ts and bring-chunks.ts.
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { TransferOptions } from './chunk-transfer.ts'
import type { HubFile } from './hub-file.ts'
import type { ModelPeers } from './model-peers.ts'

export interface RemoteFile extends HubFile {
  /** Path of its local copy. */
  path: string
}

export interface FetchRangesOptions extends TransferOptions {
  /** Chunk size of a new file, bytes. Default: CHUNK_BYTES. */
  chunkBytes?: number
  /** Bytes that one lock covers. Default 256 MiB. */
  regionBytes?: number
  log?: Log
  /** Where the manifest of a complete file is kept. Default: nowhere. */
  cacheDir?: string
  /** Peers that may have chunks. Default: only the hub is asked. */
  peers?: ModelPeers | undefined
  /** Word under which peers are found. Default: the file's hash. */
  word?: string
  /**
   * Roots of manifests; only peers that have one of them are believed. Default: see
   * bring-chunks.ts.
   */
  roots?: readonly string[] | undefined
  /** Whether the hub answers, as far as is known. */
  reach?: HubState
  /** Asks peers only if the hub is silent; for small amounts. */
  hubFirst?: boolean
  /** Whether the user was told that peers were believed; shared, so that it is said once. */
  told?: { isTold: boolean }
  /** Chooses the sample that the hub is asked for. */
  random?: Random
  /** Throws if there is no disk space for this many bytes. */
  room?: (neededBytes: number) => Promise<void>
}

/** Whether there is a hub that answers; shared by all files of a model. */
export interface HubState {
  /** It did not answer: peers are asked first from now on. */
  isSilent: boolean
  /** There is no hub: the model is known only by its content id. */
  readonly isNone: boolean
}
