// Reads a GGUF's metadata as most architectures write it; each family adds what is its own.
// Knows which tensors there are, not what is in them.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { GgufTensor } from '../formats/gguf-header.ts'
import type { Metadata } from '../formats/gguf-metadata.ts'
import type { Family, ModelConfig } from '../types.ts'
import { ropeFromGguf } from './rope.ts'

/** Typed reads of one architecture's keys, and the words to refuse a file. */
export class GgufFacts {
  readonly architecture: string
  /** The model's name, shown to people. */
  readonly name: string
  readonly metadata: Metadata
  readonly tensors: readonly GgufTensor[]
  readonly #used = new Set<string>()

  constructor(facts: {
    architecture: string
    name: string
    metadata: Metadata
    tensors: readonly GgufTensor[]
  }) {
    this.architecture = facts.architecture
    this.name = facts.name
    this.metadata = facts.metadata
    this.tensors = facts.tensors
  }

  /** `key` without the architecture before it. */
  optional(key: string): number | undefined {
    this.#used.add(key)
    return this.metadata.number(`${this.architecture}.${key}`)
  }

  /** Says that these change nothing about this model. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#used.add(key)
  }

  /** Keys of the architecture, without it, that nobody has asked for. */
  unused(): string[] {
    const prefix = `${this.architecture}.`
    const own = this.metadata.keys().filter((key) => key.startsWith(prefix))
    return own.map((key) => key.slice(prefix.length)).filter((key) => !this.#used.has(key))
  }

  required(key: string): number {
    const value = this.optional(key)
    if (value !== undefined) return value
    throw corrupt(`The GGUF cannot be opened: '${this.architecture}.${key}' is missing`)
  }

  text(key: string): string | undefined {
    this.#used.add(key)
    return this.metadata.string(`${this.architecture}.${key}`)
  }

  tensor(name: string): GgufTensor | undefined {
    return this.tensors.find((tensor) => tensor.name === name)
  }

  refuse(what: string): Error {
    return unsupported(`The model cannot be run: ${what} is not supported yet`)
  }
}

/** What all architectures have in common; `epsilon` is the key of the norms' epsilon. */
export function commonFromGguf(
  gguf: GgufFacts,
  family: Family,
  epsilon: 'layer_norm_rms_epsilon' | 'layer_norm_epsilon' = 'layer_norm_rms_epsilon'
): ModelConfig {
  const headCount = gguf.required('attention.head_count')
  const hiddenSize = gguf.required('embedding_length')
  const headDim = gguf.optional('attention.key_length') ?? hiddenSize / headCount
  if ((gguf.optional('attention.value_length') ?? headDim) !== headDim) {
    throw gguf.refuse('a value size other than the key size')
  }
  if ((gguf.optional('rope.dimension_count') ?? headDim) !== headDim) {
    throw gguf.refuse('RoPE over part of a head')
  }
  const embedding = gguf.tensor('token_embd.weight')
  if (!embedding) throw corrupt("The GGUF cannot be opened: tensor 'token_embd.weight' is missing")
  return {
    family,
    name: gguf.name,
    hiddenSize,
    blockCount: gguf.required('block_count'),
    headCount,
    kvHeadCount: gguf.optional('attention.head_count_kv') ?? headCount,
    headDim,
    ffnSize: gguf.required('feed_forward_length'),
    vocabSize: embedding.shape[0] ?? 0,
    contextLength: gguf.required('context_length'),
    ...ropeFromGguf(gguf, headDim),
    rmsEps: gguf.required(`attention.${epsilon}`),
    tiedEmbedding: gguf.tensor('output.weight') === undefined
  }
}

/** `attention.sliding_window`, for architectures in which every block has it. */
export function windowFromGguf(gguf: GgufFacts): { window?: number } {
  const window = gguf.optional('attention.sliding_window')
  return window === undefined ? {} : { window }
}

/** Whether there is a window that is narrower than the context. */
export function hasWindow(gguf: GgufFacts): boolean {
  const window = gguf.optional('attention.sliding_window') ?? 0
  return window > 0 && window < gguf.required('context_length')
}

/** Counts of a mixture of experts. */
export function expertsFromGguf(
  gguf: GgufFacts
): Pick<Required<ModelConfig>, 'expertCount' | 'expertsPerToken'> {
  return {
    expertCount: gguf.required('expert_count'),
    expertsPerToken: gguf.required('expert_used_count')
  }
}
