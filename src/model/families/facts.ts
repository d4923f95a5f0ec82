// What describes a model family: its tensors by canonical name, their shapes and names in files,
// and the parts that most families share. Knows no files; hub-config.ts and gguf-config.ts read
// configs.
import type { Family, ModelConfig } from '../types.ts'
import type { GgufFacts } from './gguf-facts.ts'
import type { HubFacts } from './hub-facts.ts'
import { rotaryOf } from './rope.ts'

/** An order of rows in a file that differs from the canonical one. */
export type RowOrder =
  /**
   * The first `rotary` rows of a head in pairs for RoPE, by default all. Canonical: all first
   * halves, then all second halves, then the head's other rows.
   */
  | { readonly kind: 'interleaved'; readonly heads: number; readonly rotary?: number | undefined }
  /** Groups that each have some rows of every part. Canonical: each part's rows together. */
  | { readonly kind: 'grouped'; readonly groups: number; readonly rows: readonly number[] }
  /** (in, out). Canonical: (out, in). Does not affect a bias. */
  | { readonly kind: 'transposed' }

/** A weight, and possibly a bias with one value for each row. */
export interface Part {
  /**
   * Canonical name without `.weight`; inside a block without `model.layers.N.`; `*` is an expert's
   * number. It is the hub's name, unless `hubName` says otherwise.
   */
  readonly name: string
  /** GGUF name without `.weight`; inside a block without `blk.N.`. */
  readonly gguf: string
  /** Outermost first; of one expert. */
  shape(config: ModelConfig): readonly number[]
  /**
   * Whether there is a bias, which the graph adds. Without this, a bias is refused and not ignored.
   */
  readonly bias?: 'may' | 'must'
  /** Whether the model may lack it. */
  isOptional?(config: ModelConfig): boolean
  /** Order of the rows in the family's GGUFs, if not canonical. */
  ggufOrder?(config: ModelConfig): RowOrder
  /** Order of the rows in the family's safetensors, if not canonical. */
  hubOrder?(config: ModelConfig): RowOrder | undefined
}

export interface FamilyFacts {
  readonly family: Family
  /** `general.architecture` of a GGUF. */
  readonly architectures: readonly string[]
  /** `model_type` of a hub's config.json. */
  readonly modelTypes: readonly string[]
  /** Tells families apart whose GGUFs name the same architecture. */
  isInGguf?(gguf: GgufFacts): boolean
  readonly outer: readonly Part[]
  block(config: ModelConfig): readonly Part[]
  /** Canonical name of a hub's tensor; undefined if it is to be ignored. Default: the same name. */
  hubName?(name: string): string | undefined
  /** What names of a block's modules in transformers begin with. Default: 'model.layers.'. */
  readonly hubBlocks?: string
  /** @throws AppError CORRUPT, UNSUPPORTED */
  fromHub(hub: HubFacts): ModelConfig
  /** @throws AppError CORRUPT, UNSUPPORTED */
  fromGguf(gguf: GgufFacts): ModelConfig
}

const hidden = (c: ModelConfig): readonly number[] => [c.hiddenSize]
const head = (c: ModelConfig): readonly number[] => [c.headDim]
const vocabulary = (c: ModelConfig): readonly number[] => [c.vocabSize, c.hiddenSize]

export const EMBEDDING: Part = {
  name: 'model.embed_tokens',
  gguf: 'token_embd',
  shape: vocabulary
}
export const FINAL_NORM: Part = { name: 'model.norm', gguf: 'output_norm', shape: hidden }
export const HEAD: Part = {
  name: 'lm_head',
  gguf: 'output',
  shape: vocabulary,
  isOptional: (c) => c.tiedEmbedding
}
/** RoPE scaling of Llama 3.1 in GGUFs. */
export const ROPE_FACTORS: Part = {
  name: 'rope_freqs',
  gguf: 'rope_freqs',
  shape: (c) => [rotaryOf(c) / 2],
  isOptional: () => true
}

export const INPUT_NORM: Part = { name: 'input_layernorm', gguf: 'attn_norm', shape: hidden }
export const POST_ATTENTION_NORM: Part = {
  name: 'post_attention_layernorm',
  gguf: 'ffn_norm',
  shape: hidden
}
export const QUERY: Part = {
  name: 'self_attn.q_proj',
  gguf: 'attn_q',
  shape: (c) => [c.headCount * c.headDim, c.hiddenSize]
}
export const KEY: Part = {
  name: 'self_attn.k_proj',
  gguf: 'attn_k',
  shape: (c) => [c.kvHeadCount * c.headDim, c.hiddenSize]
}
export const VALUE: Part = {
  name: 'self_attn.v_proj',
  gguf: 'attn_v',
  shape: (c) => [c.kvHeadCount * c.headDim, c.hiddenSize]
}
export const ATTENTION_OUT: Part = {
  name: 'self_attn.o_proj',
  gguf: 'attn_output',
  shape: (c) => [c.hiddenSize, c.headCount * c.headDim]
}
export const QUERY_NORM: Part = { name: 'self_attn.q_norm', gguf: 'attn_q_norm', shape: head }
export const KEY_NORM: Part = { name: 'self_attn.k_norm', gguf: 'attn_k_norm', shape: head }

export const GATED_MLP: readonly Part[] = [
  { name: 'mlp.gate_proj', gguf: 'ffn_gate', shape: (c) => [c.ffnSize, c.hiddenSize] },
  { name: 'mlp.up_proj', gguf: 'ffn_up', shape: (c) => [c.ffnSize, c.hiddenSize] },
  { name: 'mlp.down_proj', gguf: 'ffn_down', shape: (c) => [c.hiddenSize, c.ffnSize] }
]

export const EXPERTS: readonly Part[] = [
  { name: 'mlp.gate', gguf: 'ffn_gate_inp', shape: (c) => [c.expertCount ?? 0, c.hiddenSize] },
  {
    name: 'mlp.experts.*.gate_proj',
    gguf: 'ffn_gate_exps',
    shape: (c) => [c.ffnSize, c.hiddenSize]
  },
  { name: 'mlp.experts.*.up_proj', gguf: 'ffn_up_exps', shape: (c) => [c.ffnSize, c.hiddenSize] },
  {
    name: 'mlp.experts.*.down_proj',
    gguf: 'ffn_down_exps',
    shape: (c) => [c.hiddenSize, c.ffnSize]
  }
]

/** The parts, with a bias that may or must be there. */
export function withBias(bias: 'may' | 'must', ...parts: readonly Part[]): Part[] {
  return parts.map((part) => ({ ...part, bias }))
}

/**
 * GGUFs of the llama architecture rotate neighbouring rows, so their q and k rows are interleaved.
 */
export const LLAMA_ATTENTION: readonly Part[] = [
  { ...QUERY, ggufOrder: (c) => inPairs(c, c.headCount) },
  { ...KEY, ggufOrder: (c) => inPairs(c, c.kvHeadCount) },
  VALUE,
  ATTENTION_OUT
]

function inPairs({ rotaryDim: rotary }: ModelConfig, heads: number): RowOrder {
  return { kind: 'interleaved', heads, rotary }
}

/**
 * Whether it is a part of an expert: `model.layers.3.mlp.experts.7.up_proj` is
 * `mlp.experts.*.up_proj`.
 */
export function isExpert(part: Part): boolean {
  return part.name.includes('*')
}
