// Fixtures as GGUF files, as llama.cpp's converter lays them out: its names, its order of rows, its
// sums. Written from the format's side; shares nothing with src/model.
// scripts/llama/check-llama-cpp.ts shows that llama.cpp reads these very files as `transformers`
// reads the folders.
import { writeGguf, type GgufSpec, type MetadataEntry } from '../../support/models/gguf-writer.ts'
import type { Fixture } from './fixture.ts'
import { readFolder, type Config, type Floats, type Tensors } from './folder.ts'

/** Rows in another order: row `i` is the old row `from(i)`. */
function pickRows(tensor: Floats, from: (row: number) => number): Floats {
  const rows = tensor.shape[0]!
  const width = tensor.values.length / rows
  const values = new Float32Array(tensor.values.length)
  for (let row = 0; row < rows; row++) {
    values.set(tensor.values.subarray(from(row) * width, (from(row) + 1) * width), row * width)
  }
  return { shape: tensor.shape, values }
}

/**
 * Halves of what RoPE turns of each head to neighbours: row 2i + s is the old row s * half + i.
 */
function interleave(tensor: Floats, headDim: number, rotary: number): Floats {
  return pickRows(tensor, (row) => {
    const [head, within] = [Math.floor(row / headDim), row % headDim]
    if (within >= rotary) return row
    return head * headDim + (within % 2) * (rotary / 2) + Math.floor(within / 2)
  })
}

/** [group, (queries, key, value)] to all queries, all keys, all values. */
function ungroup(tensor: Floats, groups: number, queries: number, headDim: number): Floats {
  const order: number[] = []
  const group = (queries + 2) * headDim
  const take = (first: number, heads: number): void => {
    for (let g = 0; g < groups; g++) {
      for (let i = 0; i < heads * headDim; i++) order.push(g * group + first * headDim + i)
    }
  }
  take(0, queries)
  take(queries, 1)
  take(queries + 1, 1)
  return pickRows(tensor, (row) => order[row]!)
}

function transpose({ shape: [rows = 0, columns = 0], values }: Floats): Floats {
  const out = new Float32Array(values.length)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = values[i * columns + j]!
  }
  return { shape: [columns, rows], values: out }
}

const mapped = (tensor: Floats, change: (value: number) => number): Floats => ({
  shape: tensor.shape,
  values: tensor.values.map(change)
})

const LLAMA_NAMES: readonly [RegExp, string][] = [
  [/^model\.embed_tokens$/, 'token_embd'],
  [/^model\.norm$/, 'output_norm'],
  [/^lm_head$/, 'output'],
  [/^model\.layers\.(\d+)\.input_layernorm$/, 'blk.$1.attn_norm'],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj$/, 'blk.$1.attn_$2'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj$/, 'blk.$1.attn_output'],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm$/, 'blk.$1.attn_$2_norm'],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj$/, 'blk.$1.ffn_$2'],
  [/^model\.layers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate$/, 'blk.$1.ffn_gate_inp'],
  [/^model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj$/, 'blk.$1.ffn_$3_exps.$2'],
  [/^model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.w1$/, 'blk.$1.ffn_gate_exps.$2'],
  [/^model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.w2$/, 'blk.$1.ffn_down_exps.$2'],
  [/^model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.w3$/, 'blk.$1.ffn_up_exps.$2']
]
const PLAIN_NORM: [RegExp, string] = [
  /^model\.layers\.(\d+)\.post_attention_layernorm$/,
  'blk.$1.ffn_norm'
]
const GEMMA_NORMS: readonly [RegExp, string][] = [
  [/^model\.layers\.(\d+)\.post_attention_layernorm$/, 'blk.$1.post_attention_norm'],
  [/^model\.layers\.(\d+)\.pre_feedforward_layernorm$/, 'blk.$1.ffn_norm'],
  [/^model\.layers\.(\d+)\.post_feedforward_layernorm$/, 'blk.$1.post_ffw_norm']
]
const OTHER_NAMES: readonly [RegExp, string][] = [
  [/^transformer\.(?:wte|word_embeddings)$/, 'token_embd'],
  [/^transformer\.wpe$/, 'position_embd'],
  [/^transformer\.word_embeddings_layernorm$/, 'token_embd_norm'],
  [/^transformer\.ln_f$/, 'output_norm'],
  [/^lm_head$/, 'output'],
  [/^transformer\.h\.(\d+)\.(?:ln_1|input_layernorm|ln_mlp)$/, 'blk.$1.attn_norm'],
  [/^transformer\.h\.(\d+)\.ln_attn$/, 'blk.$1.attn_norm_2'],
  [/^transformer\.h\.(\d+)\.(?:ln_2|post_attention_layernorm)$/, 'blk.$1.ffn_norm'],
  [/^transformer\.h\.(\d+)\.(?:attn\.c_attn|self_attention\.query_key_value)$/, 'blk.$1.attn_qkv'],
  [/^transformer\.h\.(\d+)\.(?:attn\.c_proj|self_attention\.dense)$/, 'blk.$1.attn_output'],
  [/^transformer\.h\.(\d+)\.mlp\.(?:c_fc|dense_h_to_4h)$/, 'blk.$1.ffn_up'],
  [/^transformer\.h\.(\d+)\.mlp\.(?:c_proj|dense_4h_to_h)$/, 'blk.$1.ffn_down']
]

const ARCHITECTURES: Readonly<Record<string, string>> = {
  llama: 'llama',
  mixtral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  qwen3_moe: 'qwen3moe',
  gemma2: 'gemma2',
  gemma3_text: 'gemma3',
  gpt2: 'gpt2',
  bloom: 'bloom',
  falcon: 'falcon'
}

/** The fixture as a GGUF. */
export function fixtureGguf(fixture: Fixture): GgufSpec {
  const { config, tensors } = readFolder(fixture.location.paths[0]!)
  const type = String(config['model_type'])
  const isGemma = type.startsWith('gemma')
  const isOther = ['gpt2', 'bloom', 'falcon'].includes(type)
  const norms = isGemma ? GEMMA_NORMS : [PLAIN_NORM]
  const names = isOther ? OTHER_NAMES : [...LLAMA_NAMES, ...norms]
  const out = new Map<string, Floats>()
  for (const [name, tensor] of tensors) {
    const at = name.lastIndexOf('.')
    const [stem, suffix] = [name.slice(0, at), name.slice(at)]
    const rule = names.find(([pattern]) => pattern.test(stem))
    if (rule === undefined) throw new TypeError(`no GGUF name for ${name}`)
    const renamed = stem.replace(rule[0], rule[1]) + suffix
    out.set(renamed, changed(type, config, renamed, tensor))
  }
  const scaling = config['rope_scaling'] as Config | null | undefined
  if (scaling?.['rope_type'] === 'llama3') out.set('rope_freqs.weight', llama3(config, scaling))
  const stacked = isOther ? out : stackedExperts(out)
  return {
    metadata: metadataOf(type, config),
    tensors: [...stacked].map(([name, { shape, values }]) => ({
      name,
      type: 'F32' as const,
      shape,
      bytes: new Uint8Array(values.buffer)
    }))
  }
}

function headDimOf(config: Config): number {
  const [heads, hidden] = [numberIn(config, 'num_attention_heads', 'n_head'), hiddenOf(config)]
  return typeof config['head_dim'] === 'number' ? config['head_dim'] : hidden / heads
}

/** Values of each head that RoPE turns. */
function rotaryOf(config: Config): number {
  return headDimOf(config) * numberIn({ share: config['partial_rotary_factor'] ?? 1 }, 'share')
}

const hiddenOf = (config: Config): number => numberIn(config, 'hidden_size', 'n_embd')

function numberIn(config: Config, ...keys: string[]): number {
  const value = keys.map((key) => config[key]).find((each) => typeof each === 'number')
  if (typeof value !== 'number') throw new TypeError(`config has none of ${keys.join()}`)
  return value
}

function changed(type: string, config: Config, name: string, tensor: Floats): Floats {
  const headDim = headDimOf(config)
  const isArchLlama = type === 'llama' || type === 'mixtral'
  if (isArchLlama && /attn_[qk]\./.test(name)) return interleave(tensor, headDim, rotaryOf(config))
  if (type.startsWith('gemma')) {
    // What queries are scaled by is no metadata; it goes into what makes them.
    const factor = Math.sqrt(headDim / numberIn(config, 'query_pre_attn_scalar'))
    if (name.endsWith('attn_q_norm.weight')) return mapped(tensor, (value) => (value + 1) * factor)
    if (name.endsWith('norm.weight')) return mapped(tensor, (value) => value + 1)
    if (type === 'gemma2' && name.endsWith('attn_q.weight')) {
      return mapped(tensor, (value) => value * factor)
    }
  }
  if (type === 'gpt2' && tensor.shape.length === 2 && name.startsWith('blk.')) {
    return transpose(tensor)
  }
  if (name.includes('attn_qkv') && type !== 'gpt2') {
    const heads = numberIn(config, 'num_attention_heads', 'n_head')
    const groups = keyHeadsOf(type, config)
    return ungroup(tensor, groups, heads / groups, headDim)
  }
  return tensor
}

function keyHeadsOf(type: string, config: Config): number {
  const heads = numberIn(config, 'num_attention_heads', 'n_head')
  if (type !== 'falcon') return numberIn({ kv: config['num_key_value_heads'] ?? heads }, 'kv')
  if (config['new_decoder_architecture'] === true) return numberIn(config, 'num_kv_heads')
  return config['multi_query'] === true ? 1 : heads
}

/** `blk.0.ffn_up_exps.3.weight` and its like, laid over each other: (experts, rows, columns). */
function stackedExperts(tensors: Tensors): Tensors {
  const out = new Map<string, Floats>()
  const stacks = new Map<string, Floats[]>()
  for (const [name, tensor] of tensors) {
    const found = /^(.*_exps)\.(\d+)\.weight$/.exec(name)
    if (found === null) {
      out.set(name, tensor)
      continue
    }
    const stack = stacks.get(found[1]!) ?? []
    stacks.set(found[1]!, stack)
    stack[Number(found[2])] = tensor
  }
  for (const [name, stack] of stacks) {
    const size = stack[0]!.values.length
    const values = new Float32Array(size * stack.length)
    for (const [i, tensor] of stack.entries()) values.set(tensor.values, i * size)
    out.set(`${name}.weight`, { shape: [stack.length, ...stack[0]!.shape], values })
  }
  return out
}

/** Factors of the frequencies as llama.cpp's converter computes them. */
function llama3(config: Config, scaling: Config): Floats {
  const rotary = rotaryOf(config)
  const factor = numberIn(scaling, 'factor')
  const [low, high] = [numberIn(scaling, 'low_freq_factor'), numberIn(scaling, 'high_freq_factor')]
  const context = numberIn(scaling, 'original_max_position_embeddings')
  const values = Float32Array.from({ length: rotary / 2 }, (_, i) => {
    const wave = 2 * Math.PI * numberIn(config, 'rope_theta') ** ((2 * i) / rotary)
    if (wave < context / high) return 1
    if (wave > context / low) return factor
    const smooth = (context / wave - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })
  return { shape: [rotary / 2], values }
}

function metadataOf(type: string, config: Config): MetadataEntry[] {
  const architecture = ARCHITECTURES[type]!
  const entries: MetadataEntry[] = [
    { key: 'general.architecture', type: 'string', value: architecture },
    { key: 'general.name', type: 'string', value: 'Fixture' }
  ]
  const add = (kind: 'u32' | 'f32', key: string, value: unknown): void => {
    if (typeof value === 'number') {
      entries.push({ key: `${architecture}.${key}`, type: kind, value })
    }
  }
  const heads = numberIn(config, 'num_attention_heads', 'n_head')
  const hidden = hiddenOf(config)
  const isLayerNorm = typeof config['layer_norm_epsilon'] === 'number'
  add('u32', 'context_length', config['max_position_embeddings'] ?? config['n_positions'] ?? 2048)
  add('u32', 'embedding_length', hidden)
  add('u32', 'block_count', numberIn(config, 'num_hidden_layers', 'n_layer'))
  const ffn = config['intermediate_size'] ?? config['ffn_hidden_size'] ?? 4 * hidden
  add('u32', 'feed_forward_length', ffn)
  add('u32', 'attention.head_count', heads)
  add('u32', 'attention.head_count_kv', keyHeadsOf(type, config))
  add('f32', 'attention.layer_norm_rms_epsilon', config['rms_norm_eps'])
  if (isLayerNorm) add('f32', 'attention.layer_norm_epsilon', config['layer_norm_epsilon'])
  if (typeof config['head_dim'] === 'number' && type !== 'falcon') {
    add('u32', 'attention.key_length', config['head_dim'])
    add('u32', 'attention.value_length', config['head_dim'])
    add('u32', 'rope.dimension_count', rotaryOf(config))
  }
  if (type !== 'falcon') add('f32', 'rope.freq_base', config['rope_theta'])
  const scaling = config['rope_scaling'] as Config | null | undefined
  if (scaling?.['rope_type'] === 'linear') {
    entries.push({ key: `${architecture}.rope.scaling.type`, type: 'string', value: 'linear' })
    add('f32', 'rope.scaling.factor', scaling['factor'])
  }
  if (type.startsWith('gemma')) add('u32', 'attention.sliding_window', config['sliding_window'])
  add('f32', 'attn_logit_softcapping', config['attn_logit_softcapping'])
  add('f32', 'final_logit_softcapping', config['final_logit_softcapping'])
  add('u32', 'expert_count', config['num_local_experts'] ?? config['num_experts'])
  if (config['num_local_experts'] ?? config['num_experts']) {
    add('u32', 'expert_used_count', config['num_experts_per_tok'])
  }
  add('u32', 'expert_feed_forward_length', config['moe_intermediate_size'])
  return [...entries, ...tokenizer(numberIn(config, 'vocab_size'))]
}

/** Words enough for llama.cpp to open the file; tests give ids. */
function tokenizer(count: number): MetadataEntry[] {
  const tokens = Array.from({ length: count }, (_, id) => ['<unk>', '<s>', '</s>'][id] ?? `t${id}`)
  return [
    { key: 'tokenizer.ggml.model', type: 'string', value: 'gpt2' },
    { key: 'tokenizer.ggml.pre', type: 'string', value: 'gpt-2' },
    { key: 'tokenizer.ggml.tokens', type: 'strings', value: tokens },
    { key: 'tokenizer.ggml.merges', type: 'strings', value: ['t 3', 't 4'] },
    {
      key: 'tokenizer.ggml.token_type',
      type: 'i32s',
      value: tokens.map((_, id) => [2, 3, 3][id] ?? 1)
    },
    { key: 'tokenizer.ggml.bos_token_id', type: 'u32', value: 1 },
    { key: 'tokenizer.ggml.eos_token_id', type: 'u32', value: 2 }
  ]
}

export function writeFixtureGguf(fixture: Fixture): Buffer {
  return writeGguf(fixtureGguf(fixture))
}
