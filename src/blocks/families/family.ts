// What a family of models has to say so that its blocks can be lowered and filled.
import { unsupported } from '../../base/errors.ts'
import type { Family, ModelConfig } from '../../model/types.ts'
import { bloom } from './bloom.ts'
import { falcon } from './falcon.ts'
import { gemma2 } from './gemma2.ts'
import { gemma3 } from './gemma3.ts'
import { gpt2 } from './gpt2.ts'
import { llama } from './llama.ts'
import { mistral } from './mistral.ts'
import { mixtral } from './mixtral.ts'
import type { BlockParts, NormKind, Stream } from './parts.ts'
import { qwen2 } from './qwen2.ts'
import { qwen3 } from './qwen3.ts'
import { qwen3moe } from './qwen3moe.ts'

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

const GRAPHS: Readonly<Record<Family, FamilyGraph>> = {
  bloom,
  falcon,
  gemma2,
  gemma3,
  gpt2,
  llama,
  mistral,
  mixtral,
  qwen2,
  qwen3,
  qwen3moe
}

/** @throws AppError UNSUPPORTED */
export function graphOf(family: Family): FamilyGraph {
  const graph = GRAPHS[family]
  if (graph === undefined) throw unsupported(`'${String(family)}' blocks cannot be computed`)
  return graph
}
