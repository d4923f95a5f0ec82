// What an inference session is made with.
import type { Clock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { ServerInfo, WireDtype } from '../../wire/types.ts'
import type { Connections } from '../route/links.ts'
import type { NamingOptions } from './prefix-naming.ts'
import type { PeerBook } from '../route/peers.ts'
import type { OptimizerOptions } from '../route/route-optimizer.ts'

export interface SessionOptions {
  connections: Connections
  book: PeerBook
  /** Servers of the model as the directory knows them now. */
  find: (signal: AbortSignal | undefined) => Promise<readonly ServerInfo[]>
  /** The model's content id. */
  model: Uint8Array
  blockCount: number
  hiddenSize: number
  /** Longest length that servers are asked to promise at first. */
  maxTokens: number
  /** The model's context, which no promise goes beyond. */
  contextLength: number
  /** How activations travel. Default 'f16'. */
  dtype?: WireDtype
  /**
   * What they travel as from the first value on that `dtype` cannot hold. Default: the step fails.
   */
  widerDtype?: WireDtype | undefined
  /** Called when `widerDtype` is used from now on. */
  onwiden?: () => void
  /** How long a failure may take to be mended, ms. Default 60,000. */
  recoverMs?: number
  /** How long a first route may take to be found, ms. Default 5,000. */
  findMs?: number
  /**
   * What servers may keep of it when it ends, and be asked for when it begins. Default: nothing.
   */
  prefix?:
    | (Pick<NamingOptions, 'secret' | 'published' | 'stops'> & { readonly forget?: boolean })
    | undefined
  /**
   * Longest wait for any answer to a step before the slowest server is given up, ms. Default
   * 60,000.
   */
  silenceMs?: number
  /**
   * The arithmetic of this client's own kernels: servers of the same are preferred. Default: that
   * of the first server of the first route.
   */
  arithmetic?: string | undefined
  /** The directory's servers, looked up again when that was long ago. Default: as `find`. */
  look?: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** How often a better route is looked for, and what it must promise; false: never. */
  optimizer?: Pick<OptimizerOptions, 'everyMs' | 'firstMs' | 'replan'> | false
  random?: Random
  clock?: Clock
  log?: Log
  /** Called when a server is avoided. */
  onreroute?: (peer: string, why: AppError) => void
  /**
   * Called while a step is being mended for long, with the time that is tried yet, ms; then with
   * none.
   */
  onwait?: (why: AppError | undefined, leftMs: number) => void
}
