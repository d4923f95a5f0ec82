// Refuses keys of a file that nobody read although they change results. gguf.ts and folder.ts call
// it once a family has read its facts.
import type { Family } from '../types.ts'
import type { GgufFacts } from './gguf-facts.ts'
import type { HubFacts } from './hub-facts.ts'

/** Keys of a GGUF's architecture that never change results here. */
const HARMLESS: ReadonlySet<string> = new Set([
  'vocab_size', // the embedding says it
  'tensor_data_layout', // which converter made it
  'pooling_type', // of embeddings of whole texts
  'feature_length'
])
/** Prefixes of keys about a model's image and audio parts, which are not run. */
const HARMLESS_GROUPS: readonly string[] = ['mm.', 'vision.', 'audio.', 'clip.']
/** Values at which a key has no effect. Nothing, 0 and false have none for every key. */
const NEUTRAL: Readonly<Record<string, unknown>> = {
  'attention.causal': true,
  'attention.max_alibi_bias': 8,
  'attention.output_scale': 1,
  'attention.scale': 1,
  embedding_scale: 1,
  expert_group_count: 1,
  expert_group_used_count: 1,
  expert_weights_scale: 1,
  expert_weights_norm: true,
  expert_gating_func: 1, // softmax
  logit_scale: 1,
  residual_scale: 1
}

/** @throws AppError UNSUPPORTED, naming the key */
export function checkGgufKeys(gguf: GgufFacts, contextLength: number, ffnSize: number): void {
  for (const key of gguf.unused()) {
    const value = gguf.metadata.value(`${gguf.architecture}.${key}`)
    if (HARMLESS.has(key) || HARMLESS_GROUPS.some((group) => key.startsWith(group))) continue
    if (value === 0 || value === false || value === '' || value === NEUTRAL[key]) continue
    // A window as long as the context is none.
    if (key === 'attention.sliding_window' && Number(value) >= contextLength) continue
    if (key === 'expert_feed_forward_length' && value === ffnSize) continue
    // Without experts, it has no effect.
    if (key === 'expert_used_count' && !gguf.metadata.number(`${gguf.architecture}.expert_count`))
      continue
    throw gguf.refuse(`'${gguf.architecture}.${key}' (${textOf(value)})`)
  }
}

/**
 * Keys of a config.json that change results, with the values at which they have no effect. All
 * other keys are about training and tools.
 */
const HUB_NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  attention_chunk_size: [],
  attention_multiplier: [1],
  attn_logit_softcapping: [],
  clip_qkv: [],
  compression_config: [],
  embedding_multiplier: [1],
  final_logit_softcapping: [],
  first_k_dense_replace: [],
  kv_lora_rank: [],
  logit_scale: [1],
  logits_scaling: [1],
  n_group: [1],
  n_shared_experts: [],
  no_rope_layers: [],
  no_rope_layer_interval: [],
  num_shared_experts: [],
  q_lora_rank: [],
  qk_layernorm: [],
  residual_multiplier: [1],
  rope_interleaved: [],
  routed_scaling_factor: [1],
  scale_depth: [],
  scale_emb: [1],
  scoring_func: ['softmax'],
  shared_expert_intermediate_size: [],
  topk_group: [1],
  use_bidirectional_attention: [],
  use_qk_norm: []
}

/** Keys that only some families read. */
const READ_BY: Readonly<Record<string, readonly Family[]>> = {
  attn_logit_softcapping: ['gemma2', 'gemma3'],
  final_logit_softcapping: ['gemma2', 'gemma3']
}

/** @throws AppError UNSUPPORTED, naming the key */
export function checkHubKeys(hub: HubFacts, family: Family): void {
  for (const [key, neutral] of Object.entries(HUB_NEUTRAL)) {
    const value = hub.json[key] ?? undefined
    if (value === undefined || value === 0 || value === false) continue
    if (READ_BY[key]?.includes(family)) continue
    if (neutral.includes(value) || (Array.isArray(value) && value.length === 0)) continue
    throw hub.refuse(`'${key}' of config.json (${textOf(value)})`)
  }
}

function textOf(value: unknown): string {
  return typeof value === 'object' ? 'a list' : JSON.stringify(value)
}
