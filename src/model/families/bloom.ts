// BLOOM: ALiBi, layer norms (also of the embeddings), biases everywhere; the queries, keys and
// values of each head lie together.
import type { ModelConfig } from '../types.ts'
import {
  EMBEDDING,
  FINAL_NORM,
  HEAD,
  INPUT_NORM,
  POST_ATTENTION_NORM,
  withBias,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromGguf } from './gguf-config.ts'

/** The length it was trained on; its files name no limit. */
const CONTEXT = 2048

const BLOCK: readonly Part[] = withBias(
  'must',
  INPUT_NORM,
  {
    name: 'self_attention.query_key_value',
    gguf: 'attn_qkv',
    shape: (c) => [3 * c.hiddenSize, c.hiddenSize],
    hubOrder: (c) => ({
      kind: 'grouped',
      groups: c.headCount,
      rows: [c.headDim, c.headDim, c.headDim]
    })
  },
  {
    name: 'self_attention.dense',
    gguf: 'attn_output',
    shape: (c) => [c.hiddenSize, c.hiddenSize]
  },
  POST_ATTENTION_NORM,
  { name: 'mlp.dense_h_to_4h', gguf: 'ffn_up', shape: (c) => [c.ffnSize, c.hiddenSize] },
  { name: 'mlp.dense_4h_to_h', gguf: 'ffn_down', shape: (c) => [c.hiddenSize, c.ffnSize] }
)

const EMBEDDING_NORM: Part = {
  name: 'model.embed_norm',
  gguf: 'token_embd_norm',
  shape: (c: ModelConfig) => [c.hiddenSize]
}

export const BLOOM: FamilyFacts = {
  family: 'bloom',
  architectures: ['bloom'],
  modelTypes: ['bloom'],
  outer: [EMBEDDING, ...withBias('must', EMBEDDING_NORM, FINAL_NORM), HEAD],
  hubBlocks: 'transformer.h.',
  block: () => BLOCK,
  hubName: (name) =>
    name
      .replace(/^transformer\./, '')
      .replace(/^h\./, 'model.layers.')
      .replace(/^word_embeddings\./, 'model.embed_tokens.')
      .replace(/^word_embeddings_layernorm\./, 'model.embed_norm.')
      .replace(/^ln_f\./, 'model.norm.'),
  fromHub(hub) {
    if (hub.flag('apply_residual_connection_post_layernorm', false)) {
      throw hub.refuse('a stream taken after the norm')
    }
    const hiddenSize = hub.required('hidden_size', 'n_embed')
    const headCount = hub.required('n_head', 'num_attention_heads')
    return {
      family: 'bloom',
      name: hub.name,
      hiddenSize,
      blockCount: hub.required('n_layer', 'num_hidden_layers'),
      headCount,
      kvHeadCount: headCount,
      headDim: hiddenSize / headCount,
      ffnSize: 4 * hiddenSize,
      vocabSize: hub.required('vocab_size'),
      contextLength: hub.optional('seq_length') ?? CONTEXT,
      positions: 'alibi',
      ropeTheta: 10_000,
      rmsEps: Math.fround(hub.optional('layer_norm_epsilon') ?? 1e-5),
      tiedEmbedding: hub.json['tie_word_embeddings'] !== false
    }
  },
  fromGguf: (gguf) => ({
    ...commonFromGguf(gguf, 'bloom', 'layer_norm_epsilon'),
    positions: 'alibi'
  })
}
