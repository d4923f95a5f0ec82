// What a family of models has to say so that its blocks can be lowered and filled.
import type { ModelConfig } from '../../model/types.ts'
import type { BlockParts, NormKind, Stream } from './parts.ts'

/** Matrices with the same input, laid under each other so that one product serves all. */
export interface MatrixGroup {
  readonly name: string
  readonly parts: readonly { readonly part: string; readonly rows: number }[]
  readonly columns: number
  /** Small and decisive: held in floats whatever the quantisation. */
  readonly exact?: true
  /** Must be one matrix, whatever types its parts have. */
  readonly whole?: true
}

/** A tensor of a block that is taken as it is, in floats. */
export interface VectorPart {
  /** Canonical name inside the block, e.g. `input_layernorm.weight`. */
  readonly name: string
  readonly length: number
}

export interface FamilyGraph {
  /** Of every norm of the stream and of the model's last. */
  readonly norm: NormKind
  matrices(config: ModelConfig): readonly MatrixGroup[]
  vectors(config: ModelConfig): readonly VectorPart[]
  /** One block: what its parts are made of comes from the lowering. */
  block<V>(parts: BlockParts<V>, stream: Stream<V>): Stream<V>
}
