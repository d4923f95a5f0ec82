// Opens GGUF files, one or several shards: config from metadata, canonical names, half-split q and k rows.
// gguf-header.ts parses the bytes; gguf-tokenizer.ts describes the tokenizer.
import { basename } from 'node:path'
import { corrupt, unsupported } from '../base/errors.ts'
import { cleanName, createModel } from './create-model.ts'
import { canonicalName, type FamilyFacts, familyOfArchitecture } from './families.ts'
import { type GgufHeader, type GgufTensor, parseGgufHeader } from './gguf-header.ts'
import { Metadata } from './gguf-metadata.ts'
import { ggufTokenizer } from './gguf-tokenizer.ts'
import { type MappedFile, openMappedFile } from './mapped-file.ts'
import { createTensorStore, type TensorEntry } from './tensor-store.ts'
import type { Model, ModelConfig, ModelLocation } from './types.ts'

const MAX_SHARDS = 1024

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED */
export function openGguf(location: ModelLocation): Model {
  const files: MappedFile[] = []
  try {
    const headers: GgufHeader[] = []
    for (const path of location.paths.slice(0, MAX_SHARDS)) {
      const file = openMappedFile(path)
      files.push(file)
      headers.push(parseGgufHeader(file))
    }
    const [first] = headers
    if (!first) throw corrupt('The GGUF cannot be opened: no file was named')
    checkShards(headers, files)
    const metadata = new Metadata(first)
    const architecture = metadata.string('general.architecture')
    if (architecture === undefined) {
      throw corrupt(`'${files[0]?.path}' cannot be opened: it names no architecture`)
    }
    const facts = familyOfArchitecture(architecture)
    const tensors = headers.flatMap((header) => header.tensors)
    const fallbackName = basename(location.paths[0] ?? '', '.gguf')
    const config = ggufConfig(metadata, architecture, facts, tensors, fallbackName)
    const entries = headers.flatMap((header, i) =>
      header.tensors.map((tensor) => entryOf(tensor, files[i] as MappedFile, facts, config))
    )
    return createModel({
      config,
      location,
      tensors: createTensorStore(entries, files),
      tokenizer: () => ggufTokenizer(metadata, config.vocabSize),
      chatTemplate: () => metadata.string('tokenizer.chat_template')
    })
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

function checkShards(headers: readonly GgufHeader[], files: readonly MappedFile[]): void {
  const count = new Metadata(headers[0] as GgufHeader).number('split.count') ?? 1
  if (count !== headers.length && !(count === 0 && headers.length === 1)) {
    throw corrupt(
      `The GGUF cannot be opened: it has ${count} shards, and ${headers.length} were given`,
      { hint: 'Give the first shard with all others beside it, under their own names' }
    )
  }
  if (headers.length === 1) return
  for (const [i, header] of headers.entries()) {
    if (new Metadata(header).number('split.no') !== i) {
      throw corrupt(`'${files[i]?.path}' cannot be opened: it is not shard ${i + 1} of ${count}`)
    }
  }
}

function entryOf(
  tensor: GgufTensor,
  file: MappedFile,
  facts: FamilyFacts,
  config: ModelConfig
): TensorEntry {
  const found = canonicalName(facts, tensor.name)
  if (!found) {
    throw unsupported(
      `The model cannot be run: tensor '${tensor.name}' is not known of ${config.family} models`
    )
  }
  const { type, shape, sizeBytes, offset } = tensor
  return {
    info: { name: found.name, type, shape, sizeBytes },
    file,
    offset,
    interleavedHeads: found.part.interleavedHeads?.(config) ?? 0
  }
}

function ggufConfig(
  metadata: Metadata,
  architecture: string,
  facts: FamilyFacts,
  tensors: readonly GgufTensor[],
  fallbackName: string
): ModelConfig {
  const optional = (key: string): number | undefined => metadata.number(`${architecture}.${key}`)
  const required = (key: string): number => {
    const value = optional(key)
    if (value === undefined) {
      throw corrupt(`The GGUF cannot be opened: '${architecture}.${key}' is missing`)
    }
    return value
  }
  const headCount = required('attention.head_count')
  const hiddenSize = required('embedding_length')
  const headDim = optional('attention.key_length') ?? hiddenSize / headCount
  const refuse = (what: string): Error =>
    unsupported(`The model cannot be run: ${what} is not supported yet`)
  if ((optional('expert_count') ?? 0) > 0) throw refuse('a mixture of experts')
  if ((optional('attention.value_length') ?? headDim) !== headDim) {
    throw refuse('a value size other than the key size')
  }
  if ((optional('rope.dimension_count') ?? headDim) !== headDim)
    throw refuse('RoPE over part of a head')
  const scaling = metadata.string(`${architecture}.rope.scaling.type`) ?? 'none'
  if (scaling !== 'none') throw refuse(`RoPE scaling '${scaling}'`)
  if (tensors.some((tensor) => tensor.name.startsWith('rope_'))) throw refuse('RoPE with factors')
  const embedding = tensors.find((tensor) => tensor.name === 'token_embd.weight')
  if (!embedding) throw corrupt("The GGUF cannot be opened: tensor 'token_embd.weight' is missing")
  return {
    family: facts.family,
    name: cleanName(metadata.string('general.name') ?? '') || cleanName(fallbackName),
    hiddenSize,
    blockCount: required('block_count'),
    headCount,
    kvHeadCount: optional('attention.head_count_kv') ?? headCount,
    headDim,
    ffnSize: required('feed_forward_length'),
    vocabSize: embedding.shape[0] ?? 0,
    contextLength: required('context_length'),
    ropeTheta: optional('rope.freq_base') ?? 10_000,
    rmsEps: required('attention.layer_norm_rms_epsilon'),
    tiedEmbedding: !tensors.some((tensor) => tensor.name === 'output.weight')
  }
}
