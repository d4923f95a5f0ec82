// A hub's file on its way here, and how it is fetched: what fetch-ranges.ts and bring-chunks.ts
// share.
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { TransferOptions } from './chunk-transfer.ts'
import type { HubFile } from './hub-file.ts'
import type { ModelPeers } from './model-peers.ts'

export interface RemoteFile extends HubFile {
  /** Where its chunks go. */
  path: string
}

export interface FetchRangesOptions extends TransferOptions {
  /** Bytes of a chunk of a new file. Default: CHUNK_BYTES. */
  chunkBytes?: number
  /** What is fetched under one lock. Default 256 MiB. */
  regionBytes?: number
  log?: Log
  /** Where the manifest of a file that became whole is kept. Default: nowhere. */
  cacheDir?: string
  /** Who else has chunks. Default: the hub is asked alone. */
  peers?: ModelPeers | undefined
  /** Under which peers are found. Default: by the file's hash. */
  word?: string
  /** Manifests' roots that alone are believed of peers. Default: see bring-chunks.ts. */
  roots?: readonly string[] | undefined
  /** Whether the hub answers, as known before. */
  reach?: HubState
  /** Asks peers only when the hub is silent: for what is little. */
  hubFirst?: boolean
  /** Whether the user knows that peers' word was taken: shared, so that it is said once. */
  told?: { isTold: boolean }
  /** Chooses what the hub is asked to hold peers to. */
  random?: Random
  /** Throws when so many bytes have no room. */
  room?: (neededBytes: number) => Promise<void>
}

/** Whether a hub is there; shared by all that is fetched of a model. */
export interface HubState {
  /** It did not answer: peers are asked first from now on. */
  isSilent: boolean
  /** There is none: the model is known by its id alone. */
  readonly isNone: boolean
}
