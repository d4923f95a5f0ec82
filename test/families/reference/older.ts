// GPT-2, BLOOM and Falcon in float64: layer norms, fused matrices, positions that are learned,
// biases or turns.
import { embedding, numberOf, perhaps, weight, type Answer, type HubModel } from './model.ts'
import {
  add,
  apply,
  attend,
  byHead,
  geluErf,
  geluTanh,
  layerNorm,
  turn,
  type AttentionFacts,
  type Row,
  type Weight
} from './ops.ts'

interface Shape {
  readonly kind: string
  readonly headCount: number
  readonly kvHeadCount: number
  readonly headDim: number
  readonly blocks: number
}

function shapeOf({ config }: HubModel): Shape {
  const kind = String(config['model_type'])
  const headCount = perhaps(config, 'n_head') ?? numberOf(config, 'num_attention_heads')
  const hidden = perhaps(config, 'n_embd') ?? numberOf(config, 'hidden_size')
  const isOne = kind === 'falcon' && config['multi_query'] === true
  const isNew = kind === 'falcon' && config['new_decoder_architecture'] === true
  return {
    kind,
    headCount,
    kvHeadCount: isNew ? numberOf(config, 'num_kv_heads') : isOne ? 1 : headCount,
    headDim: hidden / headCount,
    blocks: perhaps(config, 'n_layer') ?? numberOf(config, 'num_hidden_layers')
  }
}

export function olderAnswer(model: HubModel, ids: readonly number[]): Answer {
  const { config } = model
  const shape = shapeOf(model)
  const isGpt2 = shape.kind === 'gpt2'
  const matrix = weight(
    model,
    isGpt2 ? 'transformer.wte.weight' : 'transformer.word_embeddings.weight'
  )
  let rows = ids.map((id, at) => {
    const token = embedding(matrix, id)
    if (isGpt2) return add(token, embedding(weight(model, 'transformer.wpe.weight'), at))
    if (shape.kind === 'bloom') return norm(model, token, 'transformer.word_embeddings_layernorm')
    return token
  })
  const hidden: Row[][] = []
  for (let block = 0; block < shape.blocks; block++) {
    hidden.push(rows)
    rows = blockOf(model, shape, `transformer.h.${block}`, rows)
  }
  const isTied = config['tie_word_embeddings'] !== false
  const head = isTied ? matrix : weight(model, 'lm_head.weight')
  return { hidden, logits: rows.map((x) => apply(head, norm(model, x, 'transformer.ln_f'))) }
}

function norm(model: HubModel, x: Row, name: string): Row {
  const epsilon = numberOf(model.config, 'layer_norm_epsilon')
  return layerNorm(x, weight(model, `${name}.weight`), weight(model, `${name}.bias`), epsilon)
}

function blockOf(model: HubModel, shape: Shape, prefix: string, rows: readonly Row[]): Row[] {
  const { kind } = shape
  const isGpt2 = kind === 'gpt2'
  const named = (name: string): boolean => model.tensors.has(`${prefix}.${name}.weight`)
  const first = isGpt2 ? 'ln_1' : named('ln_attn') ? 'ln_attn' : 'input_layernorm'
  const normed = rows.map((x) => norm(model, x, `${prefix}.${first}`))
  const attended = attention(model, shape, prefix, normed)
  if (kind === 'falcon' && model.config['parallel_attn'] === true) {
    return rows.map((x, i) => {
      const own = named('ln_mlp') ? norm(model, x, `${prefix}.ln_mlp`) : normed[i]!
      return add(add(x, attended[i]!), mlp(model, shape, prefix, own))
    })
  }
  const second = isGpt2 ? 'ln_2' : 'post_attention_layernorm'
  return rows.map((x, i) => {
    const middle = add(x, attended[i]!)
    return add(middle, mlp(model, shape, prefix, norm(model, middle, `${prefix}.${second}`)))
  })
}

/** A matrix and its bias, if any; GPT-2's are (in, out). */
function through(model: HubModel, name: string, x: Row): Row {
  const matrix = weight(model, `${name}.weight`)
  const isTurned = model.config['model_type'] === 'gpt2'
  return apply(isTurned ? transposed(matrix) : matrix, x, model.tensors.get(`${name}.bias`))
}

function transposed({ shape: [rows = 0, columns = 0], values }: Weight): Weight {
  const out = new Float32Array(values.length)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = values[i * columns + j]!
  }
  return { shape: [columns, rows], values: out }
}

function attention(model: HubModel, shape: Shape, prefix: string, rows: readonly Row[]): Row[] {
  const { kind, headCount, kvHeadCount, headDim } = shape
  const { config } = model
  const isGpt2 = kind === 'gpt2'
  const fused = rows.map((x) =>
    through(model, `${prefix}.${isGpt2 ? 'attn.c_attn' : 'self_attention.query_key_value'}`, x)
  )
  const hasAlibi = kind === 'bloom' || config['alibi'] === true
  const parts = fused.map((x) => split(x, shape))
  const turns = Array.from(
    { length: headDim / 2 },
    (_, i) => (perhaps(config, 'rope_theta') ?? 10_000) ** ((-2 * i) / headDim)
  )
  const isTurned = kind === 'falcon' && !hasAlibi
  const turned = (x: Row, at: number): Row =>
    isTurned ? byHead(x, headDim, (head) => turn(head, at, turns)) : x
  // Falcon adds the bias before it scales.
  const steepness = kind === 'falcon' ? headDim ** -0.5 : 1
  const facts: AttentionFacts = {
    headCount,
    kvHeadCount,
    headDim,
    ...(hasAlibi
      ? { bias: (head, query, key) => steepness * slope(head, headCount) * (key - query) }
      : {})
  }
  const attended = attend(
    parts.map(({ q }, at) => turned(q, at)),
    parts.map(({ k }, at) => turned(k, at)),
    parts.map(({ v }) => v),
    facts
  )
  const out = `${prefix}.${isGpt2 ? 'attn.c_proj' : 'self_attention.dense'}`
  return attended.map((x) => through(model, out, x))
}

/**
 * GPT-2 has all queries, all keys, all values; the others groups of queries with a key and a value.
 */
function split(x: Row, shape: Shape): { q: Row; k: Row; v: Row } {
  const { kind, headCount, kvHeadCount, headDim } = shape
  if (kind === 'gpt2') {
    const width = headCount * headDim
    return { q: x.slice(0, width), k: x.slice(width, 2 * width), v: x.slice(2 * width) }
  }
  const each = headCount / kvHeadCount
  const q = new Float64Array(headCount * headDim)
  const k = new Float64Array(kvHeadCount * headDim)
  const v = new Float64Array(kvHeadCount * headDim)
  for (let group = 0; group < kvHeadCount; group++) {
    const from = group * (each + 2) * headDim
    q.set(x.subarray(from, from + each * headDim), group * each * headDim)
    k.set(x.subarray(from + each * headDim, from + (each + 1) * headDim), group * headDim)
    v.set(x.subarray(from + (each + 1) * headDim, from + (each + 2) * headDim), group * headDim)
  }
  return { q, k, v }
}

/**
 * For a power of two 2 ** (-8 / heads) and its powers; the rest from between those of twice as
 * many.
 */
function slope(head: number, heads: number): number {
  let power = 1
  while (power * 2 <= heads) power *= 2
  if (head < power) return 2 ** (-(8 / power) * (head + 1))
  return 2 ** (-(4 / power) * (2 * (head - power) + 1))
}

function mlp(model: HubModel, shape: Shape, prefix: string, x: Row): Row {
  const isGpt2 = shape.kind === 'gpt2'
  const [up, down] = isGpt2 ? ['c_fc', 'c_proj'] : ['dense_h_to_4h', 'dense_4h_to_h']
  const activate = shape.kind === 'falcon' ? geluErf : geluTanh
  return through(
    model,
    `${prefix}.mlp.${down}`,
    through(model, `${prefix}.mlp.${up}`, x).map(activate)
  )
}
