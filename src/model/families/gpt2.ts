// GPT-2: learned positions, layer norms, biases everywhere; the hub's matrices are transposed.
import type { ModelConfig } from '../types.ts'
import { EMBEDDING, FINAL_NORM, HEAD, withBias, type FamilyFacts, type Part } from './facts.ts'
import { commonFromGguf } from './gguf-config.ts'

const hidden = (c: ModelConfig): readonly number[] => [c.hiddenSize]
const hubOrder = (): { kind: 'transposed' } => ({ kind: 'transposed' })

const BLOCK: readonly Part[] = withBias(
  'must',
  { name: 'ln_1', gguf: 'attn_norm', shape: hidden },
  {
    name: 'attn.c_attn',
    gguf: 'attn_qkv',
    shape: (c) => [3 * c.hiddenSize, c.hiddenSize],
    hubOrder
  },
  {
    name: 'attn.c_proj',
    gguf: 'attn_output',
    shape: (c) => [c.hiddenSize, c.hiddenSize],
    hubOrder
  },
  { name: 'ln_2', gguf: 'ffn_norm', shape: hidden },
  { name: 'mlp.c_fc', gguf: 'ffn_up', shape: (c) => [c.ffnSize, c.hiddenSize], hubOrder },
  { name: 'mlp.c_proj', gguf: 'ffn_down', shape: (c) => [c.hiddenSize, c.ffnSize], hubOrder }
)

const OUTER_NAMES: Readonly<Record<string, string>> = {
  wte: 'model.embed_tokens',
  wpe: 'model.embed_positions',
  ln_f: 'model.norm'
}

export const GPT2: FamilyFacts = {
  family: 'gpt2',
  architectures: ['gpt2'],
  modelTypes: ['gpt2'],
  outer: [
    EMBEDDING,
    {
      name: 'model.embed_positions',
      gguf: 'position_embd',
      shape: (c) => [c.contextLength, c.hiddenSize]
    },
    ...withBias('must', FINAL_NORM),
    HEAD
  ],
  hubBlocks: 'transformer.h.',
  block: () => BLOCK,
  hubName(name) {
    const own = name.replace(/^transformer\./, '')
    // The causal mask, which old checkpoints contain.
    if (/^h\.\d+\.attn\.(masked_)?bias$/.test(own)) return undefined
    return own
      .replace(/^h\./, 'model.layers.')
      .replace(/^(wte|wpe|ln_f)\./, (_, outer: string) => `${OUTER_NAMES[outer]}.`)
  },
  fromHub(hub) {
    hub.checkActivation('gelu_new', 'gelu_new', 'gelu_pytorch_tanh')
    if (
      hub.flag('scale_attn_by_inverse_layer_idx', false) ||
      !hub.flag('scale_attn_weights', true)
    ) {
      throw hub.refuse('another scale of attention')
    }
    const hiddenSize = hub.required('n_embd')
    const headCount = hub.required('n_head')
    return {
      family: 'gpt2',
      name: hub.name,
      hiddenSize,
      blockCount: hub.required('n_layer'),
      headCount,
      kvHeadCount: headCount,
      headDim: hiddenSize / headCount,
      ffnSize: hub.optional('n_inner') ?? 4 * hiddenSize,
      vocabSize: hub.required('vocab_size'),
      contextLength: hub.required('n_positions', 'n_ctx'),
      positions: 'learned',
      ropeTheta: 10_000,
      rmsEps: Math.fround(hub.optional('layer_norm_epsilon') ?? 1e-5),
      tiedEmbedding: hub.json['tie_word_embeddings'] !== false
    }
  },
  fromGguf: (gguf) => ({
    ...commonFromGguf(gguf, 'gpt2', 'layer_norm_epsilon'),
    positions: 'learned'
  })
}
