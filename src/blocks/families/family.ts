// What a model family declares so that its blocks can be lowered and loaded.
import type { ModelConfig } from '../../model/types.ts'
import type { BlockParts, NormKind, Stream } from './parts.ts'

/** Matrices with the same input, stacked so that one product serves all. */
export interface MatrixGroup {
  readonly name: string
  readonly parts: readonly { readonly part: string; readonly rows: number }[]
  readonly columns: number
  /** Small and sensitive: kept as floats under every quantisation. */
  readonly exact?: true
  /** Must be one matrix, whatever types its parts have. */
  readonly whole?: true
}

/** A tensor of a block that is kept as floats, unchanged. */
export interface VectorPart {
  /** Canonical name inside the block, e.g. `input_layernorm.weight`. */
  readonly name: string
  readonly length: number
}

export interface FamilyGraph {
  /** The kind of the model's norms of the stream, including the final one. */
  readonly norm: NormKind
  matrices(config: ModelConfig): readonly MatrixGroup[]
  vectors(config: ModelConfig): readonly VectorPart[]
  /** Describes one block; the lowering supplies the parts. */
  block<V>(parts: BlockParts<V>, stream: Stream<V>): Stream<V>
}
