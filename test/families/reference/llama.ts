// Llama's kin in float64: Llama, Mistral, Qwen 2 and 3, Qwen3-MoE, Mixtral, Gemma 2 and 3.
import { embedding, numberOf, perhaps, weight, type Answer, type HubModel } from './model.ts'
import {
  add,
  apply,
  attend,
  byHead,
  geluTanh,
  rms,
  row,
  silu,
  softmax,
  times,
  turn,
  type Row
} from './ops.ts'

/** One frequency a pair, divided as `rope_scaling` says. */
function frequencies(model: HubModel, theta: number, isScaled: boolean): number[] {
  const { config } = model
  const width = numberOf(config, 'head_dim') * (perhaps(config, 'partial_rotary_factor') ?? 1)
  const plain = Array.from({ length: width / 2 }, (_, i) => theta ** ((-2 * i) / width))
  const scaling = config['rope_scaling'] as Record<string, unknown> | null | undefined
  if (!isScaled || scaling === null || scaling === undefined) return plain
  const factor = numberOf(scaling, 'factor')
  if (scaling['rope_type'] === 'linear') return plain.map((each) => each / factor)
  if (scaling['rope_type'] === 'yarn') return yarn(plain, theta, factor, scaling)
  const [low, high] = [numberOf(scaling, 'low_freq_factor'), numberOf(scaling, 'high_freq_factor')]
  const context = numberOf(scaling, 'original_max_position_embeddings')
  return plain.map((each) => {
    const wave = (2 * Math.PI) / each
    if (wave > context / low) return each / factor
    if (wave < context / high) return each
    const smooth = (context / wave - low) / (high - low)
    return ((1 - smooth) * each) / factor + smooth * each
  })
}

/**
 * Kept where a pair turns 32 times within the first context, divided where it turns once, a ramp
 * between.
 */
function yarn(
  plain: readonly number[],
  theta: number,
  factor: number,
  scaling: Record<string, unknown>
): number[] {
  const context = numberOf(scaling, 'original_max_position_embeddings')
  const dim = 2 * plain.length
  const [first, end] = [32, 1].map(
    (turns) => (dim * Math.log(context / (2 * Math.PI * turns))) / (2 * Math.log(theta))
  ) as [number, number]
  const [from, to] = [Math.max(Math.floor(first), 0), Math.min(Math.ceil(end), dim - 1)]
  return plain.map((each, i) => {
    const ramp = Math.min(1, Math.max(0, (i - from) / Math.max(0.001, to - from)))
    return (each / factor) * ramp + each * (1 - ramp)
  })
}

/** What YaRN multiplies turned pairs by. */
function sizeOf(model: HubModel): number {
  const scaling = model.config['rope_scaling'] as Record<string, unknown> | null | undefined
  return scaling?.['rope_type'] === 'yarn' ? 1 + 0.1 * Math.log(numberOf(scaling, 'factor')) : 1
}

export function llamaAnswer(model: HubModel, ids: readonly number[]): Answer {
  const { config } = model
  const isGemma = String(config['model_type']).startsWith('gemma')
  const epsilon = numberOf(config, 'rms_norm_eps')
  const plus = isGemma ? 1 : 0
  const scale = isGemma ? Math.sqrt(numberOf(config, 'hidden_size')) : 1
  const matrix = weight(model, 'model.embed_tokens.weight')
  let rows = ids.map((id) => embedding(matrix, id, scale))
  const hidden: Row[][] = []
  for (let block = 0; block < numberOf(config, 'num_hidden_layers'); block++) {
    hidden.push(rows)
    rows = blockOf(model, block, rows)
  }
  const norm = weight(model, 'model.norm.weight')
  const head = config['tie_word_embeddings'] === true ? matrix : weight(model, 'lm_head.weight')
  const cap = perhaps(config, 'final_logit_softcapping')
  const logits = rows.map((each) => {
    const values = apply(head, rms(each, norm, epsilon, plus))
    return cap === undefined ? values : values.map((value) => cap * Math.tanh(value / cap))
  })
  return { hidden, logits }
}

function blockOf(model: HubModel, block: number, rows: readonly Row[]): Row[] {
  const { config } = model
  const epsilon = numberOf(config, 'rms_norm_eps')
  const isGemma = String(config['model_type']).startsWith('gemma')
  const of = (name: string): ReturnType<typeof weight> =>
    weight(model, `model.layers.${block}.${name}.weight`)
  const norm = (x: Row, name: string): Row => rms(x, of(name), epsilon, isGemma ? 1 : 0)
  const normed = rows.map((x) => norm(x, 'input_layernorm'))
  let branch = attention(model, block, normed)
  if (isGemma) branch = branch.map((x) => norm(x, 'post_attention_layernorm'))
  const middle = rows.map((x, i) => add(x, branch[i]!))
  return middle.map((x) => {
    if (!isGemma) return add(x, mlp(model, block, norm(x, 'post_attention_layernorm')))
    const out = mlp(model, block, norm(x, 'pre_feedforward_layernorm'))
    return add(x, norm(out, 'post_feedforward_layernorm'))
  })
}

function attention(model: HubModel, block: number, rows: readonly Row[]): Row[] {
  const { config, tensors } = model
  const headDim = numberOf(config, 'head_dim')
  const prefix = `model.layers.${block}.self_attn`
  const isGemma = String(config['model_type']).startsWith('gemma')
  const types = config['layer_types'] as string[] | undefined
  const isLocal = types === undefined || types[block] === 'sliding_attention'
  const localTheta = isLocal ? perhaps(config, 'rope_local_base_freq') : undefined
  const turns = frequencies(
    model,
    localTheta ?? numberOf(config, 'rope_theta'),
    localTheta === undefined
  )
  const size = localTheta === undefined ? sizeOf(model) : 1
  const project = (x: Row, name: string): Row =>
    apply(weight(model, `${prefix}.${name}.weight`), x, tensors.get(`${prefix}.${name}.bias`))
  const turned = (x: Row, at: number, name: string): Row => {
    const norm = tensors.get(`${prefix}.${name}_norm.weight`)
    const epsilon = numberOf(config, 'rms_norm_eps')
    return byHead(project(x, `${name}_proj`), headDim, (head) => {
      const own = norm === undefined ? head : rms(head, norm, epsilon, isGemma ? 1 : 0)
      return turn(own, at, turns, size)
    })
  }
  const scalar = perhaps(config, 'query_pre_attn_scalar') ?? headDim
  const attended = attend(
    rows.map((x, at) => turned(x, at, 'q')),
    rows.map((x, at) => turned(x, at, 'k')),
    rows.map((x) => project(x, 'v_proj')),
    {
      headCount: numberOf(config, 'num_attention_heads'),
      kvHeadCount: numberOf(config, 'num_key_value_heads'),
      headDim,
      scale: scalar ** -0.5,
      softCap: perhaps(config, 'attn_logit_softcapping'),
      window: isLocal ? perhaps(config, 'sliding_window') : undefined
    }
  )
  return attended.map((x) => project(x, 'o_proj'))
}

function mlp(model: HubModel, block: number, x: Row): Row {
  const { config, tensors } = model
  const prefix = `model.layers.${block}`
  const activate = String(config['model_type']).startsWith('gemma') ? geluTanh : silu
  const gated = (gate: string, up: string, down: string): Row => {
    const through = (name: string, input: Row): Row =>
      apply(weight(model, `${prefix}.${name}.weight`), input, tensors.get(`${prefix}.${name}.bias`))
    return through(down, times(through(gate, x).map(activate), through(up, x)))
  }
  const router =
    tensors.get(`${prefix}.mlp.gate.weight`) ??
    tensors.get(`${prefix}.block_sparse_moe.gate.weight`)
  if (router === undefined) return gated('mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj')
  const shares = softmax([...apply(router, x)])
  const best = shares
    .map((share, expert) => ({ share, expert }))
    .sort((a, b) => b.share - a.share)
    .slice(0, numberOf(config, 'num_experts_per_tok'))
  const sum = best.reduce((total, { share }) => total + share, 0)
  const isWhole = config['model_type'] === 'mixtral' || config['norm_topk_prob'] === true
  let out = row(x.length, () => 0)
  for (const { share, expert } of best) {
    const isMixtral = config['model_type'] === 'mixtral'
    const place = isMixtral ? `block_sparse_moe.experts.${expert}` : `mlp.experts.${expert}`
    const names = isMixtral ? ['w1', 'w3', 'w2'] : ['gate_proj', 'up_proj', 'down_proj']
    const [gate, up, down] = names.map((name) => `${place}.${name}`)
    const answer = gated(gate!, up!, down!)
    out = add(
      out,
      answer.map((value) => (value * share) / (isWhole ? sum : 1))
    )
  }
  return out
}
