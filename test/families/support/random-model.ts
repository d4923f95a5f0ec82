// Small models of every family with random shapes and weights, as folders of the hub. Seeded.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../../../src/base/random.ts'
import type { Family, ModelLocation } from '../../../src/model/types.ts'
import { safetensors } from '../../support/models/stories.ts'
import type { HubModel } from '../reference/model.ts'
import { WeightBuilder } from './weight-builder.ts'

const VOCAB = 40

/** A model's shape, drawn by lot. */
interface Shape {
  hidden: number
  blocks: number
  heads: number
  kvHeads: number
  headDim: number
  ffn: number
  context: number
}

/** `context`: tokens of its longest session. */
export function randomModel(family: Family, seed: number, context = 64): HubModel {
  const random = seededRandom(seed)
  const pick = <T>(...values: readonly T[]): T => values[random.below(values.length)]!
  const kvHeads = pick(1, 2, 3)
  const shape: Shape = {
    hidden: pick(24, 32, 40),
    blocks: pick(2, 3),
    heads: kvHeads * pick(1, 2),
    kvHeads,
    headDim: pick(8, 16, 32),
    ffn: pick(20, 48),
    context
  }
  const builder = new WeightBuilder(random)
  switch (family) {
    case 'gpt2':
    case 'bloom':
    case 'falcon':
      return older(family, builder, { ...shape, hidden: shape.heads * shape.headDim }, pick)
    default:
      return llama(family, builder, shape, pick)
  }
}

export function writeModel(model: HubModel, folder: string): ModelLocation {
  writeFileSync(join(folder, 'config.json'), JSON.stringify(model.config))
  const tensors = [...model.tensors].map(([name, { shape, values }]) => ({
    name,
    shape,
    bytes: new Uint8Array(values.buffer)
  }))
  writeFileSync(join(folder, 'model.safetensors'), safetensors(tensors))
  return { kind: 'folder', paths: [folder] }
}

export function randomIds(seed: number, count: number): number[] {
  const random = seededRandom(seed)
  return Array.from({ length: count }, () => random.below(VOCAB))
}

type Pick = <T>(...values: readonly T[]) => T
type Facts = Record<string, unknown>

const MODEL_TYPES: Partial<Record<Family, string>> = {
  gemma3: 'gemma3_text',
  qwen3moe: 'qwen3_moe'
}

function llama(family: Family, builder: WeightBuilder, shape: Shape, pick: Pick): HubModel {
  const { hidden, blocks, heads, kvHeads, headDim, ffn } = shape
  const facts = factsOf(family, shape, pick)
  const isTied = family.startsWith('gemma') || pick(true, false)
  const config = {
    model_type: MODEL_TYPES[family] ?? family,
    hidden_size: hidden,
    num_hidden_layers: blocks,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    intermediate_size: ffn,
    vocab_size: VOCAB,
    max_position_embeddings: shape.context,
    rope_theta: pick(10_000, 500_000),
    rms_norm_eps: 1e-6,
    tie_word_embeddings: isTied,
    ...facts
  }
  const isGemma = family.startsWith('gemma')
  const centre = isGemma ? 0 : 1
  builder.table('model.embed_tokens', VOCAB, hidden, isGemma ? 0.5 / Math.sqrt(hidden) : 0.5)
  builder.norm('model.norm', hidden, centre)
  if (!isTied) builder.matrix('lm_head', VOCAB, hidden)
  const hasBias = facts['attention_bias'] === true
  for (let block = 0; block < blocks; block++) {
    const prefix = `model.layers.${block}`
    builder.norm(`${prefix}.input_layernorm`, hidden, centre)
    builder.norm(`${prefix}.post_attention_layernorm`, hidden, centre)
    if (isGemma) {
      builder.norm(`${prefix}.pre_feedforward_layernorm`, hidden, centre)
      builder.norm(`${prefix}.post_feedforward_layernorm`, hidden, centre)
    }
    const attention = `${prefix}.self_attn`
    builder.matrix(`${attention}.q_proj`, heads * headDim, hidden, hasBias || family === 'qwen2')
    builder.matrix(`${attention}.k_proj`, kvHeads * headDim, hidden, hasBias || family === 'qwen2')
    builder.matrix(`${attention}.v_proj`, kvHeads * headDim, hidden, hasBias || family === 'qwen2')
    builder.matrix(`${attention}.o_proj`, hidden, heads * headDim, hasBias)
    if (family === 'qwen3' || family === 'qwen3moe' || family === 'gemma3') {
      builder.norm(`${attention}.q_norm`, headDim, centre)
      builder.norm(`${attention}.k_norm`, headDim, centre)
    }
    mlp(family, builder, prefix, { hidden, ffn, config })
  }
  return { config, tensors: builder.tensors }
}

function mlp(
  family: Family,
  builder: WeightBuilder,
  prefix: string,
  facts: { hidden: number; ffn: number; config: Facts }
): void {
  const { hidden, ffn, config } = facts
  const gated = (names: readonly [string, string, string], hasBias = false): void => {
    builder.matrix(`${prefix}.${names[0]}`, ffn, hidden, hasBias)
    builder.matrix(`${prefix}.${names[1]}`, ffn, hidden, hasBias)
    builder.matrix(`${prefix}.${names[2]}`, hidden, ffn, hasBias)
  }
  const experts = (config['num_local_experts'] ?? config['num_experts'] ?? 0) as number
  const isMixtral = family === 'mixtral'
  if (experts === 0) {
    const isBiased = config['mlp_bias'] === true
    gated(['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'], isBiased)
    return
  }
  builder.matrix(`${prefix}.${isMixtral ? 'block_sparse_moe' : 'mlp'}.gate`, experts, hidden)
  for (let expert = 0; expert < experts; expert++) {
    const place = `${isMixtral ? 'block_sparse_moe' : 'mlp'}.experts.${expert}`
    if (isMixtral) gated([`${place}.w1`, `${place}.w3`, `${place}.w2`])
    else gated([`${place}.gate_proj`, `${place}.up_proj`, `${place}.down_proj`])
  }
}

/** What is the family's own in a config.json. */
function factsOf(family: Family, shape: Shape, pick: Pick): Facts {
  const layers = (every: number): string[] =>
    Array.from({ length: shape.blocks }, (_, block) =>
      (block + 1) % every === 0 ? 'full_attention' : 'sliding_attention'
    )
  const llama3 = {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 24
  }
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 96 }
  switch (family) {
    case 'llama':
      return {
        attention_bias: pick(true, false),
        mlp_bias: pick(true, false),
        rope_scaling: pick<Facts | null>(null, llama3, yarn, { rope_type: 'linear', factor: 3 }),
        partial_rotary_factor: pick(1, 0.5, 0.25)
      }
    case 'mistral':
      return { sliding_window: pick(1, 3, 8) }
    case 'qwen3':
      return {
        use_sliding_window: true,
        max_window_layers: 0,
        sliding_window: pick(4, 9),
        layer_types: layers(99)
      }
    case 'gemma2':
      return {
        sliding_window: 4,
        layer_types: layers(2),
        query_pre_attn_scalar: pick(12, shape.headDim),
        attn_logit_softcapping: 1.5,
        final_logit_softcapping: 2
      }
    case 'gemma3':
      return {
        sliding_window: 5,
        layer_types: layers(pick(2, 3)),
        query_pre_attn_scalar: 12,
        rope_local_base_freq: 1000,
        rope_scaling: pick<Facts | null>(null, { rope_type: 'linear', factor: 8 })
      }
    case 'mixtral':
      return {
        num_local_experts: 5,
        num_experts_per_tok: pick(1, 2),
        sliding_window: pick(null, 6)
      }
    case 'qwen3moe':
      return {
        num_experts: 7,
        num_experts_per_tok: 3,
        moe_intermediate_size: shape.ffn,
        norm_topk_prob: pick(true, false)
      }
    default:
      return {}
  }
}

function older(family: Family, builder: WeightBuilder, shape: Shape, pick: Pick): HubModel {
  const { hidden, blocks, heads, headDim } = shape
  const isGpt2 = family === 'gpt2'
  const isFalcon = family === 'falcon'
  const ffn = 4 * hidden
  const kind = isFalcon ? pick('7b', '40b', '11b', 'rw') : ''
  const isNew = kind === '40b' || kind === '11b'
  const kvHeads = isNew ? shape.kvHeads : kind === '7b' ? 1 : heads
  const named = { model_type: family, vocab_size: VOCAB, layer_norm_epsilon: 1e-5 }
  const own = isGpt2
    ? { n_embd: hidden, n_head: heads, n_layer: blocks, n_positions: shape.context }
    : { hidden_size: hidden, n_head: heads, n_layer: blocks, seq_length: shape.context }
  const falcon = {
    hidden_size: hidden,
    num_attention_heads: heads,
    num_hidden_layers: blocks,
    max_position_embeddings: shape.context,
    multi_query: kind === '7b',
    parallel_attn: kind !== 'rw',
    alibi: kind === 'rw',
    bias: kind === 'rw',
    new_decoder_architecture: isNew,
    num_kv_heads: kvHeads,
    num_ln_in_parallel_attn: kind === '11b' ? 1 : null
  }
  const tie = { tie_word_embeddings: pick(true, false) }
  const config = { ...named, ...(isFalcon ? falcon : own), ...tie }
  builder.table(`transformer.${isGpt2 ? 'wte' : 'word_embeddings'}`, VOCAB, hidden)
  if (isGpt2) builder.table('transformer.wpe', shape.context, hidden)
  if (family === 'bloom') builder.layerNorm('transformer.word_embeddings_layernorm', hidden)
  builder.layerNorm('transformer.ln_f', hidden)
  if (!tie.tie_word_embeddings) builder.matrix('lm_head', VOCAB, hidden)
  for (let block = 0; block < blocks; block++) {
    const prefix = `transformer.h.${block}`
    if (isGpt2) {
      builder.layerNorm(`${prefix}.ln_1`, hidden)
      builder.layerNorm(`${prefix}.ln_2`, hidden)
      builder.turned(`${prefix}.attn.c_attn`, 3 * hidden, hidden)
      builder.turned(`${prefix}.attn.c_proj`, hidden, hidden)
      builder.turned(`${prefix}.mlp.c_fc`, ffn, hidden)
      builder.turned(`${prefix}.mlp.c_proj`, hidden, ffn)
      continue
    }
    const norms =
      kind === '40b'
        ? ['ln_attn', 'ln_mlp']
        : kind === '7b' || kind === '11b'
          ? ['input_layernorm']
          : ['input_layernorm', 'post_attention_layernorm']
    for (const norm of norms) builder.layerNorm(`${prefix}.${norm}`, hidden)
    const hasBias = family === 'bloom' || kind === 'rw'
    const rows = (heads + 2 * kvHeads) * headDim
    builder.matrix(`${prefix}.self_attention.query_key_value`, rows, hidden, hasBias)
    builder.matrix(`${prefix}.self_attention.dense`, hidden, hidden, hasBias)
    builder.matrix(`${prefix}.mlp.dense_h_to_4h`, ffn, hidden, hasBias)
    builder.matrix(`${prefix}.mlp.dense_4h_to_h`, hidden, ffn, hasBias)
  }
  return { config, tensors: builder.tensors }
}
