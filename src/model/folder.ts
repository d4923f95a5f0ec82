// Opens a folder as the hub lays one out: config.json, *.safetensors, and the tokenizer's files.
// safetensors.ts parses the weights; folder-tokenizer.ts the rest.
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { corrupt, notFound, unsupported } from '../base/errors.ts'
import { cleanName, createModel } from './create-model.ts'
import { type FamilyFacts, familyOfModelType } from './families.ts'
import { folderChatTemplate, folderTokenizer } from './folder-tokenizer.ts'
import { type JsonObject, numberOf, readJsonObject } from './json-file.ts'
import { type MappedFile, openMappedFile } from './mapped-file.ts'
import { parseSafetensors, type SafeTensor } from './safetensors.ts'
import { createTensorStore, type TensorEntry } from './tensor-store.ts'
import type { Model, ModelConfig, ModelLocation } from './types.ts'

const INDEX = 'model.safetensors.index.json'
const MAX_FILES = 1024

/** Buffers that old checkpoints saved and every reader computes for itself. */
const IGNORED = /\.rotary_emb\.inv_freq$/

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED */
export function openFolder(location: ModelLocation): Model {
  const [folder] = location.paths
  if (folder === undefined) throw notFound('A model cannot be opened: no folder was named')
  const json = readJsonObject(join(folder, 'config.json'))
  const modelType = json['model_type']
  if (typeof modelType !== 'string') throw corrupt(`'${folder}' names no model type in config.json`)
  const config = folderConfig(json, familyOfModelType(modelType), basename(folder))
  const files: MappedFile[] = []
  try {
    const entries: TensorEntry[] = []
    for (const name of weightFiles(folder)) {
      const file = openMappedFile(join(folder, name))
      files.push(file)
      for (const tensor of parseSafetensors(file)) {
        const isSpare = config.tiedEmbedding && tensor.name === 'lm_head.weight'
        if (!isSpare && !IGNORED.test(tensor.name)) entries.push(entryOf(tensor, file))
      }
    }
    return createModel({
      config,
      location,
      tensors: createTensorStore(entries, files),
      tokenizer: () => folderTokenizer(folder, json),
      chatTemplate: () => folderChatTemplate(folder)
    })
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

/** The files that the index names, or all there are. Names are plain: nothing outside the folder. */
function weightFiles(folder: string): string[] {
  const there = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  if (there.length === 0) {
    throw notFound(`'${folder}' has no weights: there is no .safetensors file`, {
      hint: 'Weights in the old .bin format must be converted first'
    })
  }
  let names = there
  if (readdirSync(folder).includes(INDEX)) {
    const map = readJsonObject(join(folder, INDEX))['weight_map']
    if (typeof map !== 'object' || map === null) throw corrupt(`'${INDEX}' has no weight map`)
    names = [...new Set(Object.values(map).map(String))]
    for (const name of names) {
      if (!there.includes(name)) throw notFound(`'${folder}' is not whole: '${name}' is missing`)
    }
  } else if (there.includes('model.safetensors')) {
    names = ['model.safetensors']
  }
  if (names.length > MAX_FILES) throw corrupt(`'${folder}' has ${names.length} weight files`)
  return names.sort()
}

function entryOf(tensor: SafeTensor, file: MappedFile): TensorEntry {
  const { name, type, shape, sizeBytes, offset } = tensor
  if (type !== 'F32' && type !== 'F16' && type !== 'BF16') {
    throw unsupported(`The model cannot be run: tensor '${name}' has the type ${type}`, {
      hint: 'F32, F16 and BF16 are known in safetensors; use a GGUF for quantised weights'
    })
  }
  return { info: { name, type, shape, sizeBytes }, file, offset, interleavedHeads: 0 }
}

function folderConfig(json: JsonObject, facts: FamilyFacts, name: string): ModelConfig {
  const required = (key: string): number => {
    const value = numberOf(json, key)
    if (value === undefined)
      throw corrupt(`The model cannot be opened: config.json has no '${key}'`)
    return value
  }
  const refuse = (what: string): Error =>
    unsupported(`The model cannot be run: ${what} is not supported yet`)
  if (json['quantization_config']) throw refuse('a quantised folder')
  const activation = json['hidden_act'] ?? 'silu'
  if (activation !== 'silu') throw refuse(`the activation '${String(activation)}'`)
  const rope = objectOf(json['rope_parameters'] ?? json['rope_scaling'])
  const scaling = rope['rope_type'] ?? rope['type'] ?? 'default'
  if (scaling !== 'default') throw refuse(`RoPE scaling '${String(scaling)}'`)
  const hiddenSize = required('hidden_size')
  const headCount = required('num_attention_heads')
  return {
    family: facts.family,
    name: cleanName(name),
    hiddenSize,
    blockCount: required('num_hidden_layers'),
    headCount,
    kvHeadCount: numberOf(json, 'num_key_value_heads') ?? headCount,
    headDim: numberOf(json, 'head_dim') ?? hiddenSize / headCount,
    ffnSize: required('intermediate_size'),
    vocabSize: required('vocab_size'),
    contextLength: required('max_position_embeddings'),
    // As float32, like a GGUF holds them, so that one model has one content id in both.
    ropeTheta: Math.fround(numberOf(rope, 'rope_theta') ?? numberOf(json, 'rope_theta') ?? 10_000),
    rmsEps: Math.fround(required('rms_norm_eps')),
    tiedEmbedding: json['tie_word_embeddings'] === true
  }
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
