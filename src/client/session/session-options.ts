// Options of an inference session.
import type { Clock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { ServerInfo, WireDtype } from '../../wire/types.ts'
import type { Connections } from '../route/links.ts'
import type { SessionAdapters } from './session-adapters.ts'
import type { NamingOptions } from './prefix-naming.ts'
import type { PeerBook } from '../route/peers.ts'
import type { OptimizerOptions } from '../route/route-optimizer.ts'

export interface SessionOptions {
  connections: Connections
  book: PeerBook
  /** Current servers of the model in the directory. */
  find: (signal: AbortSignal | undefined) => Promise<readonly ServerInfo[]>
  /** Content id of the model. */
  model: Uint8Array
  blockCount: number
  hiddenSize: number
  /** What it runs with, on every server. Default: nothing. */
  adapters?: SessionAdapters | undefined
  /** Whether a peer was given something of an adapter since then. Default: never. */
  isGivingTo?: (peer: string, since: number) => boolean
  /** Length that servers are asked to promise at first, in tokens. */
  maxTokens: number
  /** The model's context, the limit of all promises. */
  contextLength: number
  /** Type in which activations travel. Default 'f16'. */
  dtype?: WireDtype
  /** Type in which they travel once a value exceeds `dtype`. Default: the step fails. */
  widerDtype?: WireDtype | undefined
  /** Called when `widerDtype` is used from now on. */
  onwiden?: () => void
  /** Longest time to recover from a failure, ms. Default 60,000. */
  recoverMs?: number
  /** Longest time to find a first route, ms. Default 5,000. */
  findMs?: number
  /** What servers may keep when it ends and be asked for when it begins. Default: nothing. */
  prefix?:
    | (Pick<NamingOptions, 'secret' | 'published' | 'stops'> & { readonly forget?: boolean })
    | undefined
  /**
   * Longest wait for an answer to a step before the slowest server is given up, ms. Default 60,000.
   */
  silenceMs?: number
  /**
   * Arithmetic of this client's kernels: servers with the same are preferred. Default: that of the
   * first server of the first route.
   */
  arithmetic?: string | undefined
  /** The directory's servers, looked up again if that was long ago. Default: as `find`. */
  look?: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** How often a better route is looked for, and what it must promise; false: never. */
  optimizer?: Pick<OptimizerOptions, 'everyMs' | 'firstMs' | 'replan'> | false
  random?: Random
  clock?: Clock
  log?: Log
  /** Called when a server is avoided. */
  onreroute?: (peer: string, why: AppError) => void
  /**
   * Called while recovery takes long, with the reason and the time left, ms; then once without a
   * reason.
   */
  onwait?: (why: AppError | undefined, leftMs: number) => void
}
