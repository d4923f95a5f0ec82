// Adapters as a span uses them in sessions: their numbers, and how much each counts. Knows no files
// and no peers.
import type { StepAdapter } from '../train/train-types.ts'

/** An adapter's numbers for all blocks of a span. */
export interface SpanAdapter {
  readonly lora?: StepAdapter | undefined
  /** (blocks, positions, hiddenSize): added to rows of the first positions that enter a block. */
  readonly prompts?: Float32Array | undefined
}

/** An adapter in the memory of a span; sessions are opened with it. */
export interface LoadedAdapter extends Disposable {
  readonly sizeBytes: number
}

/** A session's adapter, and the factor of what it adds. */
export interface Weighted<A> {
  readonly adapter: A
  /** Finite. */
  readonly weight: number
}
