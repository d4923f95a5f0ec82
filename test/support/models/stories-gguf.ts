// stories260K as a GGUF: the checkpoint's own bytes, whose q and k rows are interleaved as a GGUF
// wants them.
import { readFileSync } from 'node:fs'
import type { Model } from '../../../src/model/types.ts'
import type { GgufSpec, GgufTensorSpec, MetadataEntry } from './gguf-writer.ts'
import { storiesLocation } from './stories.ts'

const BLOCK_NAMES: readonly [string, string][] = [
  ['input_layernorm', 'attn_norm'],
  ['self_attn.q_proj', 'attn_q'],
  ['self_attn.k_proj', 'attn_k'],
  ['self_attn.v_proj', 'attn_v'],
  ['self_attn.o_proj', 'attn_output'],
  ['post_attention_layernorm', 'ffn_norm'],
  ['mlp.gate_proj', 'ffn_gate'],
  ['mlp.down_proj', 'ffn_down'],
  ['mlp.up_proj', 'ffn_up']
]

/** `model` is the opened checkpoint, for its counts and shapes. */
export function storiesGguf(model: Model): GgufSpec {
  const { config, tensors } = model
  const file = readFileSync(storiesLocation.paths[0]!)
  let at = 28
  const take = (gguf: string, hub: string): GgufTensorSpec => {
    const { shape, sizeBytes } = tensors.info(hub)
    const bytes = file.subarray(at, at + sizeBytes)
    at += sizeBytes
    return { name: gguf, type: 'F32', shape, bytes }
  }
  const specs: GgufTensorSpec[] = [take('token_embd.weight', 'model.embed_tokens.weight')]
  for (const [hub, gguf] of BLOCK_NAMES) {
    for (let i = 0; i < config.blockCount; i++) {
      specs.push(take(`blk.${i}.${gguf}.weight`, `model.layers.${i}.${hub}.weight`))
    }
  }
  specs.push(take('output_norm.weight', 'model.norm.weight'))
  return { metadata: storiesMetadata(model), tensors: specs }
}

function storiesMetadata(model: Model): MetadataEntry[] {
  const { config } = model
  const { vocab } = (model.tokenizer.json as { model: { vocab: Record<string, number> } }).model
  const tokens: string[] = []
  for (const [token, id] of Object.entries(vocab)) tokens[id] = token
  const kind = (id: number): number => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)
  const u32 = (key: string, value: number): MetadataEntry => ({ key, type: 'u32', value })
  return [
    { key: 'general.architecture', type: 'string', value: 'llama' },
    { key: 'general.name', type: 'string', value: 'Stories' },
    u32('llama.block_count', config.blockCount),
    u32('llama.context_length', config.contextLength),
    u32('llama.embedding_length', config.hiddenSize),
    u32('llama.feed_forward_length', config.ffnSize),
    u32('llama.attention.head_count', config.headCount),
    u32('llama.attention.head_count_kv', config.kvHeadCount),
    { key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
    { key: 'tokenizer.ggml.model', type: 'string', value: 'llama' },
    { key: 'tokenizer.ggml.tokens', type: 'strings', value: tokens },
    {
      key: 'tokenizer.ggml.scores',
      type: 'f32s',
      value: tokens.map((_, id) => (id < 259 ? 0 : 259 - id))
    },
    { key: 'tokenizer.ggml.token_type', type: 'i32s', value: tokens.map((_, id) => kind(id)) },
    u32('tokenizer.ggml.bos_token_id', 1),
    u32('tokenizer.ggml.eos_token_id', 2)
  ]
}
