// What all spans and heads of a worker share when our own kernels compute them.
import type { Kernels } from '../../kernels/kernels.ts'
import type { Runner } from '../../kernels/run.ts'
import type { WeightStoreOptions } from '../weights/weight-store.ts'

export interface KernelContext {
  readonly kernels: Kernels
  /** Runs one program at a time, on all threads. */
  readonly runner: Runner
  readonly storeOptions: WeightStoreOptions
  /** Rows are not rounded to int8 for integer weights either: slow, for proofs. Default false. */
  readonly floatActivations?: boolean
}

/**
 * Most rows of one run: 128 are as fast as more, need less memory, and a stop takes effect sooner.
 */
export const MAX_ROWS = 128
