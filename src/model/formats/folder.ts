// Opens a folder in the hub's layout: config.json, *.safetensors and the tokenizer's files.
// safetensors.ts parses the weights; folder-tokenizer.ts reads the tokenizer.
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { corrupt, notFound, unsupported } from '../../base/errors.ts'
import { cleanName, createModel, type RangeFetcher } from '../create-model.ts'
import type { FamilyFacts } from '../families/facts.ts'
import { HubFacts } from '../families/hub-facts.ts'
import { checkHubKeys } from '../families/unused-keys.ts'
import { canonicalHubName, familyOfModelType, orderOf } from '../families.ts'
import { folderChatTemplate, folderTokenizer } from '../text/folder-tokenizer.ts'
import { readJsonObject } from './json-file.ts'
import { type MappedFile, openMappedFile } from './mapped-file.ts'
import { repoOfSnapshot } from '../hub/hub.ts'
import { INDEX, weightNames } from '../hub/repo-files.ts'
import { parseSafetensors, type SafeTensor } from './safetensors.ts'
import { createTensorStore, type TensorEntry } from './tensor-store.ts'
import type { Model, ModelConfig, ModelLocation } from '../types.ts'

/** Buffers in old checkpoints, which every reader computes itself. */
const IGNORED = /\.rotary_emb\.inv_freq$/

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED */
export function openFolder(location: ModelLocation, fetcher?: RangeFetcher): Model {
  const [folder, ...elsewhere] = location.paths
  if (folder === undefined) throw notFound('A model cannot be opened: no folder was named')
  const json = readJsonObject(join(folder, 'config.json'))
  const modelType = json['model_type']
  if (typeof modelType !== 'string') throw corrupt(`'${folder}' names no model type in config.json`)
  const facts = familyOfModelType(modelType)
  const hub = new HubFacts(json, cleanName(basename(repoOfSnapshot(folder) ?? folder)))
  const config = facts.fromHub(hub)
  checkHubKeys(hub, config.family)
  const files: MappedFile[] = []
  try {
    const entries: TensorEntry[] = []
    for (const path of elsewhere.length > 0 ? elsewhere : weightFiles(folder)) {
      const file = openMappedFile(path)
      files.push(file)
      for (const tensor of parseSafetensors(file)) {
        if (IGNORED.test(tensor.name)) continue
        const entry = entryOf(tensor, file, facts, config)
        const isSpare = config.tiedEmbedding && entry?.info.name === 'lm_head.weight'
        if (entry !== undefined && !isSpare) entries.push(entry)
      }
    }
    return createModel({
      config,
      location,
      tensors: createTensorStore(entries, files),
      fetcher,
      tokenizer: () => folderTokenizer(folder, json),
      chatTemplate: () => folderChatTemplate(folder)
    })
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

/**
 * The files that the index names, or all there are. Only plain names: nothing outside the folder.
 */
function weightFiles(folder: string): string[] {
  const map = (): unknown => readJsonObject(join(folder, INDEX))['weight_map']
  return weightNames(readdirSync(folder), folder, map).map((name) => join(folder, name))
}

function entryOf(
  tensor: SafeTensor,
  file: MappedFile,
  facts: FamilyFacts,
  config: ModelConfig
): TensorEntry | undefined {
  const found = canonicalHubName(facts, config, tensor.name)
  if (found === undefined) return undefined
  const { name, part, isBias } = found
  const { type, sizeBytes, offset } = tensor
  // What holds nothing, and is no part of the model, changes nothing.
  if (sizeBytes === 0 && part === undefined) return undefined
  if (type !== 'F32' && type !== 'F16' && type !== 'BF16') {
    throw unsupported(`The model cannot be run: tensor '${name}' has the type ${type}`, {
      hint: 'F32, F16 and BF16 are known in safetensors; use a GGUF for quantised weights'
    })
  }
  const order = orderOf(part, 'hub', config, isBias)
  const shape = order?.kind === 'transposed' ? tensor.shape.toReversed() : tensor.shape
  return { info: { name, type, shape, sizeBytes }, file, offset, order }
}
