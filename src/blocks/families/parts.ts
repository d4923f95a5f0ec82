// The parts of which every family's block consists. A family says in which order they follow; a
// lowering turns each into a node of an ONNX graph or an operation of a kernel program.
import type { ModelConfig } from '../../model/types.ts'

/**
 * RMS: divided by the root mean square, then times a weight. Layer: the mean is subtracted first,
 * and there is a bias too.
 */
export type NormKind = 'rms' | 'layer'

/**
 * The residual stream between blocks: a sum of two, which the next norm adds up in the same
 * operation.
 */
export interface Stream<V> {
  readonly residual: V
  readonly branch?: V
}

export interface Normed<V> {
  readonly normed: V
  /** The stream, summed up. */
  readonly residual: V
}

export interface AttentionOptions {
  /** Norms of each query's and key's head before rotation. Default: none. */
  readonly headNorms?: { readonly query: string; readonly key: string }
  /** Factor of ALiBi's slopes. Default 1. */
  readonly alibiScale?: number
}

/** The parts of one block. V stands for rows in a lowering. */
export interface BlockParts<V> {
  readonly config: ModelConfig
  /** Norm of the stream, of the family's kind, and the stream summed up. */
  readonly norm: (stream: Stream<V>, part: string) => Normed<V>
  /** Norm of a branch before it is added to the stream. */
  readonly branchNorm: (branch: V, part: string) => V
  /** x (count, columns) times a matrix group's matrix: (count, rows). */
  readonly linear: (x: V, name: string) => V
  /** Causal attention over the session's keys and values; qkv is (count, q + k + v). */
  readonly attention: (qkv: V, options?: AttentionOptions) => V
  /** SwiGLU of gate and up side by side (count, 2 * ffn): silu(gate) * up. */
  readonly swiglu: (gateUp: V) => V
  /** The same with GELU, approximated by tanh. */
  readonly geglu: (gateUp: V) => V
  /** Exact GELU, or its approximation by tanh. */
  readonly gelu: (x: V, kind: 'erf' | 'tanh') => V
  /** x through the experts of each row: `router`, `experts.N.gateUp` and `experts.N.down`. */
  readonly experts: (x: V) => V
  readonly add: (a: V, b: V) => V
}
