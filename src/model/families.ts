// What is known of each architecture: its tensors' names by source, their shapes, and which rows a GGUF
// interleaves. A new family is a new entry here, a graph in blocks/families, and its name in types.ts.
import { corrupt, unsupported } from '../base/errors.ts'
import type { Family, ModelConfig, TensorStore } from './types.ts'

/** A weight, and perhaps a bias of as many values as it has rows. */
export interface Part {
  /** Hub name without `.weight`; inside a block without `model.layers.N.`. */
  readonly hub: string
  /** GGUF name without `.weight`; inside a block without `blk.N.`. */
  readonly gguf: string
  /** Outermost first. */
  shape(config: ModelConfig): readonly number[]
  /** A bias may be there, and the family's graph adds it; without this one is refused, not ignored. */
  readonly mayHaveBias?: true
  /** Heads whose rows (of weight and bias) a GGUF holds in interleaved RoPE order. */
  interleavedHeads?(config: ModelConfig): number
}

export interface FamilyFacts {
  readonly family: Family
  /** `general.architecture` of a GGUF. */
  readonly architectures: readonly string[]
  /** `model_type` of a hub's config.json. */
  readonly modelTypes: readonly string[]
  readonly block: readonly Part[]
  readonly outer: readonly Part[]
}

const EMBEDDING: Part = {
  hub: 'model.embed_tokens',
  gguf: 'token_embd',
  shape: (c) => [c.vocabSize, c.hiddenSize]
}
const NORM: Part = { hub: 'model.norm', gguf: 'output_norm', shape: (c) => [c.hiddenSize] }
const HEAD: Part = {
  hub: 'lm_head',
  gguf: 'output',
  shape: (c) => [c.vocabSize, c.hiddenSize]
}

const LLAMA: FamilyFacts = {
  family: 'llama',
  architectures: ['llama'],
  modelTypes: ['llama'],
  outer: [EMBEDDING, NORM, HEAD],
  block: [
    { hub: 'input_layernorm', gguf: 'attn_norm', shape: (c) => [c.hiddenSize] },
    {
      hub: 'self_attn.q_proj',
      gguf: 'attn_q',
      shape: (c) => [c.headCount * c.headDim, c.hiddenSize],
      interleavedHeads: (c) => c.headCount
    },
    {
      hub: 'self_attn.k_proj',
      gguf: 'attn_k',
      shape: (c) => [c.kvHeadCount * c.headDim, c.hiddenSize],
      interleavedHeads: (c) => c.kvHeadCount
    },
    {
      hub: 'self_attn.v_proj',
      gguf: 'attn_v',
      shape: (c) => [c.kvHeadCount * c.headDim, c.hiddenSize]
    },
    {
      hub: 'self_attn.o_proj',
      gguf: 'attn_output',
      shape: (c) => [c.hiddenSize, c.headCount * c.headDim]
    },
    { hub: 'post_attention_layernorm', gguf: 'ffn_norm', shape: (c) => [c.hiddenSize] },
    { hub: 'mlp.gate_proj', gguf: 'ffn_gate', shape: (c) => [c.ffnSize, c.hiddenSize] },
    { hub: 'mlp.up_proj', gguf: 'ffn_up', shape: (c) => [c.ffnSize, c.hiddenSize] },
    { hub: 'mlp.down_proj', gguf: 'ffn_down', shape: (c) => [c.hiddenSize, c.ffnSize] }
  ]
}

export const FAMILIES: readonly FamilyFacts[] = [LLAMA]

function known(): string {
  return FAMILIES.flatMap((facts) => facts.architectures).join(', ')
}

/** @throws AppError UNSUPPORTED, naming the architecture. */
export function familyOfArchitecture(architecture: string): FamilyFacts {
  const facts = FAMILIES.find((each) => each.architectures.includes(architecture))
  if (facts) return facts
  throw unsupported(
    `The model cannot be run: its architecture '${architecture}' is not known yet`,
    {
      hint: `Known are: ${known()}`
    }
  )
}

/** @throws AppError UNSUPPORTED, naming the model type. */
export function familyOfModelType(modelType: string): FamilyFacts {
  const facts = FAMILIES.find((each) => each.modelTypes.includes(modelType))
  if (facts) return facts
  throw unsupported(`The model cannot be run: its type '${modelType}' is not known yet`, {
    hint: `Known are: ${known()}`
  })
}

export function factsOf(family: Family): FamilyFacts {
  const facts = FAMILIES.find((each) => each.family === family)
  if (!facts) throw new TypeError(`Unknown family '${family}'`)
  return facts
}

export interface TensorName {
  readonly name: string
  readonly part: Part
}

const BLOCK_TENSOR = /^blk\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)$/
const OUTER_TENSOR = /^(.+)\.(weight|bias)$/

/** The canonical name of a GGUF tensor, or undefined when the family has no such tensor. */
export function canonicalName(facts: FamilyFacts, gguf: string): TensorName | undefined {
  const inBlock = BLOCK_TENSOR.exec(gguf)
  const [stem, suffix] = inBlock?.slice(2) ?? OUTER_TENSOR.exec(gguf)?.slice(1) ?? []
  const part = (inBlock ? facts.block : facts.outer).find((each) => each.gguf === stem)
  if (!part || suffix === undefined) return undefined
  const prefix = inBlock ? `model.layers.${inBlock[1]}.` : ''
  return { name: `${prefix}${part.hub}.${suffix}`, part }
}

const MAX_CONFIG: Partial<Record<keyof ModelConfig, number>> = {
  hiddenSize: 2 ** 17, // 16,384 is the largest known
  blockCount: 2 ** 12, // 126
  headCount: 2 ** 12, // 128
  kvHeadCount: 2 ** 12,
  headDim: 2 ** 12, // 256
  ffnSize: 2 ** 20, // 53,248
  vocabSize: 2 ** 23, // 262,144
  contextLength: 2 ** 30 // 10 M
}

/** Refuses facts that no real model has, before anybody allocates by them. @throws AppError CORRUPT */
export function checkConfig(config: ModelConfig): ModelConfig {
  for (const [key, limit] of Object.entries(MAX_CONFIG)) {
    const value = config[key as keyof ModelConfig]
    if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= limit)) {
      throw corrupt(`The model cannot be opened: ${key} is ${String(value)}, not 1 to ${limit}`)
    }
  }
  const { headCount, kvHeadCount, headDim, rmsEps, ropeTheta } = config
  const bad = (why: string): Error => corrupt(`The model cannot be opened: ${why}`)
  if (headCount % kvHeadCount !== 0) {
    throw bad(`${headCount} heads cannot share ${kvHeadCount} key and value heads evenly`)
  }
  if (headDim % 2 !== 0) throw bad(`the head size ${headDim} is odd`)
  if (!(rmsEps > 0 && rmsEps < 1)) throw bad(`the norm's epsilon is ${rmsEps}`)
  if (!(ropeTheta >= 1 && ropeTheta < Infinity)) throw bad(`the RoPE base is ${ropeTheta}`)
  return Object.freeze(config)
}

/**
 * Every tensor that the config asks for is there, none is unknown, and all shapes fit.
 * @throws AppError CORRUPT, or UNSUPPORTED for tensors that we would ignore
 */
export function checkTensors(config: ModelConfig, store: TensorStore): void {
  const facts = factsOf(config.family)
  const expected = new Map<string, { shape: readonly number[]; optional: boolean }>()
  const expect = (prefix: string, part: Part): void => {
    const shape = part.shape(config)
    const optional = part === HEAD && config.tiedEmbedding
    expected.set(`${prefix}${part.hub}.weight`, { shape, optional })
    if (part.mayHaveBias) {
      expected.set(`${prefix}${part.hub}.bias`, { shape: shape.slice(0, 1), optional: true })
    }
  }
  for (const part of facts.outer) expect('', part)
  for (let i = 0; i < config.blockCount; i++) {
    for (const part of facts.block) expect(`model.layers.${i}.`, part)
  }
  for (const { name, shape } of store.list()) {
    const want = expected.get(name)
    if (!want) {
      throw unsupported(
        `The model cannot be run: it has '${name}', which ${config.family} models here have not`
      )
    }
    if (want.shape.length !== shape.length || want.shape.some((size, i) => size !== shape[i])) {
      throw corrupt(
        `The model cannot be opened: tensor '${name}' is [${shape.join(', ')}], not [${want.shape.join(', ')}]`
      )
    }
  }
  for (const [name, { optional }] of expected) {
    if (!optional && !store.has(name)) {
      throw corrupt(`The model cannot be opened: tensor '${name}' is missing`)
    }
  }
}
