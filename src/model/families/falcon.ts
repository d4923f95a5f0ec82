// Falcon: attention and MLP in parallel, few key heads (7B: one; 40B, 180B and 11B: about eight),
// no biases. The RW models: one after the other, with ALiBi and biases.
import type { ModelConfig } from '../types.ts'
import {
  EMBEDDING,
  FINAL_NORM,
  HEAD,
  INPUT_NORM,
  withBias,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromGguf } from './gguf-config.ts'
import { ropeFromHub } from './rope.ts'

const hidden = (c: ModelConfig): readonly number[] => [c.hiddenSize]

const MATRICES: readonly Part[] = [
  {
    name: 'self_attention.query_key_value',
    gguf: 'attn_qkv',
    shape: (c) => [(c.headCount + 2 * c.kvHeadCount) * c.headDim, c.hiddenSize],
    hubOrder: (c) => ({
      kind: 'grouped',
      groups: c.kvHeadCount,
      rows: [(c.headCount / c.kvHeadCount) * c.headDim, c.headDim, c.headDim]
    })
  },
  {
    name: 'self_attention.dense',
    gguf: 'attn_output',
    shape: (c) => [c.hiddenSize, c.headCount * c.headDim]
  },
  { name: 'mlp.dense_h_to_4h', gguf: 'ffn_up', shape: (c) => [c.ffnSize, c.hiddenSize] },
  { name: 'mlp.dense_4h_to_h', gguf: 'ffn_down', shape: (c) => [c.hiddenSize, c.ffnSize] }
]

/** One norm for both parallel branches, one for each, or two in sequence. */
function norms(config: ModelConfig): readonly Part[] {
  switch (config.parallelNorms) {
    case 1:
      return [INPUT_NORM]
    case 2:
      return [
        { name: 'ln_attn', gguf: 'attn_norm_2', shape: hidden },
        { name: 'ln_mlp', gguf: 'attn_norm', shape: hidden }
      ]
    default:
      return [INPUT_NORM, { name: 'post_attention_layernorm', gguf: 'ffn_norm', shape: hidden }]
  }
}

export const FALCON: FamilyFacts = {
  family: 'falcon',
  architectures: ['falcon'],
  modelTypes: ['falcon', 'RefinedWebModel', 'RefinedWeb'],
  outer: [EMBEDDING, ...withBias('must', FINAL_NORM), HEAD],
  hubBlocks: 'transformer.h.',
  block: (config) => [
    ...withBias('must', ...norms(config)),
    // The RW models' matrices have biases.
    ...withBias(config.parallelNorms === undefined ? 'must' : 'may', ...MATRICES)
  ],
  hubName: (name) =>
    name
      .replace(/^transformer\./, '')
      .replace(/^h\./, 'model.layers.')
      .replace(/^word_embeddings\./, 'model.embed_tokens.')
      .replace(/^ln_f\./, 'model.norm.'),
  fromHub(hub) {
    hub.checkActivation('gelu', 'gelu')
    const hiddenSize = hub.required('hidden_size')
    const headCount = hub.required('num_attention_heads', 'n_head')
    const headDim = hiddenSize / headCount
    const isNew = hub.flag('new_decoder_architecture', false)
    const isParallel = isNew || hub.flag('parallel_attn', true)
    const kvHeads = hub.optional('num_kv_heads', 'n_head_kv') ?? headCount
    const norms = hub.optional('num_ln_in_parallel_attn') ?? (isNew ? 2 : 1)
    return {
      family: 'falcon',
      name: hub.name,
      hiddenSize,
      blockCount: hub.required('num_hidden_layers', 'n_layer'),
      headCount,
      kvHeadCount: isNew ? kvHeads : hub.flag('multi_query', true) ? 1 : headCount,
      headDim,
      ffnSize: hub.optional('ffn_hidden_size') ?? 4 * hiddenSize,
      vocabSize: hub.required('vocab_size'),
      contextLength: hub.optional('max_position_embeddings') ?? 2048,
      ...ropeFromHub(hub, headDim),
      ...(hub.flag('alibi', false) ? { positions: 'alibi' } : {}),
      ...(isParallel ? { parallelNorms: isNew && norms === 2 ? 2 : 1 } : {}),
      rmsEps: Math.fround(hub.optional('layer_norm_epsilon') ?? 1e-5),
      tiedEmbedding: hub.json['tie_word_embeddings'] !== false
    }
  },
  fromGguf: (gguf) => ({
    ...commonFromGguf(gguf, 'falcon', 'layer_norm_epsilon'),
    parallelNorms: gguf.tensor('blk.0.attn_norm_2.weight') === undefined ? 1 : 2
  })
}
