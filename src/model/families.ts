// The list of model families, and the canonical names of tensors. Each family's facts are in
// families/. A new family is a file there, a line here, and its name in types.ts.
import { unsupported } from '../base/errors.ts'
import type { FamilyFacts, Part, RowOrder } from './families/facts.ts'
import type { GgufFacts } from './families/gguf-facts.ts'
import { GPT2 } from './families/gpt2.ts'
import { LLAMA } from './families/llama.ts'
import { MISTRAL } from './families/mistral.ts'
import { MIXTRAL } from './families/mixtral.ts'
import { QWEN2 } from './families/qwen2.ts'
import { QWEN3 } from './families/qwen3.ts'
import { QWEN3MOE } from './families/qwen3moe.ts'
import { BLOOM } from './families/bloom.ts'
import { FALCON } from './families/falcon.ts'
import { GEMMA2 } from './families/gemma2.ts'
import { GEMMA3 } from './families/gemma3.ts'
import type { Family, ModelConfig } from './types.ts'

export const FAMILIES: readonly FamilyFacts[] = [
  LLAMA,
  MISTRAL,
  QWEN2,
  QWEN3,
  QWEN3MOE,
  MIXTRAL,
  GEMMA2,
  GEMMA3,
  GPT2,
  BLOOM,
  FALCON
]

/** @throws AppError UNSUPPORTED, naming the architecture. */
export function familyOfArchitecture(gguf: GgufFacts): FamilyFacts {
  const { architecture } = gguf
  const named = FAMILIES.filter((each) => each.architectures.includes(architecture))
  const facts = named.find((each) => each.isInGguf?.(gguf) ?? true)
  if (facts) return facts
  if (named.length > 0) throw gguf.refuse(`this kind of '${architecture}'`)
  throw unsupported(
    `The model cannot be run: its architecture '${architecture}' is not known yet`,
    { hint: `Known are: ${known((each) => each.architectures)}` }
  )
}

/** @throws AppError UNSUPPORTED, naming the model type. */
export function familyOfModelType(modelType: string): FamilyFacts {
  const facts = FAMILIES.find((each) => each.modelTypes.includes(modelType))
  if (facts) return facts
  throw unsupported(`The model cannot be run: its type '${modelType}' is not known yet`, {
    hint: `Known are: ${known((each) => each.modelTypes)}`
  })
}

function known(names: (facts: FamilyFacts) => readonly string[]): string {
  return [...new Set(FAMILIES.flatMap(names))].sort().join(', ')
}

export function factsOf(family: Family): FamilyFacts {
  const facts = FAMILIES.find((each) => each.family === family)
  if (!facts) throw new TypeError(`Unknown family '${family}'`)
  return facts
}

export interface TensorName {
  /** Canonical name; with `*` if a GGUF has all experts of a block in one tensor. */
  readonly name: string
  readonly part: Part
  readonly isBias: boolean
}

const GGUF_BLOCK = /^blk\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)$/
const HUB_BLOCK = /^model\.layers\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)$/
const OUTER = /^(.+)\.(weight|bias)$/
/** Old GGUFs of Mixtral have a tensor for each expert: `ffn_up.3` for number 3 of `ffn_up_exps`. */
const GGUF_EXPERT = /^(ffn_(?:gate|up|down))\.(0|[1-9]\d{0,4})$/
const HUB_EXPERT = /\.experts\.(0|[1-9]\d{0,4})\./

/** The canonical name of a GGUF tensor, or undefined if the family has no such tensor. */
export function canonicalName(
  facts: FamilyFacts,
  config: ModelConfig,
  gguf: string
): TensorName | undefined {
  const inBlock = GGUF_BLOCK.exec(gguf)
  const [stem = '', suffix] = inBlock?.slice(2) ?? OUTER.exec(gguf)?.slice(1) ?? []
  if (suffix === undefined) return undefined
  const expert = inBlock ? GGUF_EXPERT.exec(stem) : null
  const wanted = expert ? `${expert[1]}_exps` : stem
  const parts = inBlock ? facts.block(config) : facts.outer
  const part = parts.find((each) => each.gguf === wanted)
  if (!part) return undefined
  const name = part.name.replace('*', expert?.[2] ?? '*')
  const prefix = inBlock ? `model.layers.${inBlock[1]}.` : ''
  return { name: `${prefix}${name}.${suffix}`, part, isBias: suffix === 'bias' }
}

/**
 * The canonical name of a hub's tensor and its part. Without a part if the family has no such
 * tensor; undefined if the tensor is to be ignored.
 */
export function canonicalHubName(
  facts: FamilyFacts,
  config: ModelConfig,
  hub: string
): { name: string; part: Part | undefined; isBias: boolean } | undefined {
  const name = facts.hubName === undefined ? hub : facts.hubName(hub)
  if (name === undefined) return undefined
  const inBlock = HUB_BLOCK.exec(name)
  const [stem = '', suffix] = inBlock?.slice(2) ?? OUTER.exec(name)?.slice(1) ?? []
  const parts = inBlock ? facts.block(config) : facts.outer
  const wanted = stem.replace(HUB_EXPERT, '.experts.*.')
  const part = parts.find((each) => each.name === wanted)
  return { name, part, isBias: suffix === 'bias' }
}

/** The order of a tensor's rows in the file; undefined if it is the canonical one. */
export function orderOf(
  part: Part | undefined,
  source: 'gguf' | 'hub',
  config: ModelConfig,
  isBias: boolean
): RowOrder | undefined {
  const order = source === 'gguf' ? part?.ggufOrder?.(config) : part?.hubOrder?.(config)
  return order?.kind === 'transposed' && isBias ? undefined : order
}
