// What the blocks of all families are put together from. A family says which parts follow each
// other; a lowering says what each part becomes: a node of an ONNX graph, or an operation of a
// kernel program.
import type { ModelConfig } from '../../model/types.ts'

/** How a family norms: RMS has a weight; a layer norm subtracts the mean and has a bias too. */
export type NormKind = 'rms' | 'layer'

/** The residual stream between blocks: a sum that the next norm takes in one operation. */
export interface Stream<V> {
  readonly residual: V
  readonly branch?: V
}

export interface Normed<V> {
  readonly normed: V
  /** The stream, summed. */
  readonly residual: V
}

export interface AttentionOptions {
  /** The norms of each query's and key's head before it is turned. Default: none. */
  readonly headNorms?: { readonly query: string; readonly key: string }
  /** What ALiBi's slopes are multiplied by. Default 1. */
  readonly alibiScale?: number
}

/** The parts of one block; V is whatever stands for rows in a lowering. */
export interface BlockParts<V> {
  readonly config: ModelConfig
  /** Norm of the stream, of the kind that the family has, and the stream itself, summed. */
  readonly norm: (stream: Stream<V>, part: string) => Normed<V>
  /** Norm of a branch before it joins the stream. */
  readonly branchNorm: (branch: V, part: string) => V
  /** x (count, columns) times a matrix group's matrix: (count, rows). */
  readonly linear: (x: V, name: string) => V
  /** Causal attention over the session's keys and values; qkv is (count, q + k + v). */
  readonly attention: (qkv: V, options?: AttentionOptions) => V
  /** SwiGLU of gate and up side by side (count, 2 * ffn): silu(gate) * up. */
  readonly swiglu: (gateUp: V) => V
  /** The same with GELU, approximated by tanh. */
  readonly geglu: (gateUp: V) => V
  /** GELU as it is defined, or approximated by tanh. */
  readonly gelu: (x: V, kind: 'erf' | 'tanh') => V
  /** x through its rows' experts: `router`, `experts.N.gateUp` and `experts.N.down`. */
  readonly experts: (x: V) => V
  readonly add: (a: V, b: V) => V
}
