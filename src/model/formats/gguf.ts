// Opens GGUF files, one or several shards: config from metadata, canonical names, order of q and k
// rows. gguf-header.ts parses the bytes; gguf-tokenizer.ts describes the tokenizer.
import { basename } from 'node:path'
import { corrupt, unsupported } from '../../base/errors.ts'
import { cleanName, createModel, type RangeFetcher } from '../create-model.ts'
import type { FamilyFacts } from '../families/facts.ts'
import { GgufFacts } from '../families/gguf-facts.ts'
import { canonicalName, familyOfArchitecture, orderOf } from '../families.ts'
import { checkConfig } from '../families-check.ts'
import { checkGgufKeys } from '../families/unused-keys.ts'
import { type GgufHeader, type GgufTensor, parseGgufHeader } from './gguf-header.ts'
import { Metadata } from './gguf-metadata.ts'
import { ggufTokenizer } from '../text/gguf-tokenizer.ts'
import { type MappedFile, openMappedFile } from './mapped-file.ts'
import { createTensorStore, type TensorEntry } from './tensor-store.ts'
import type { Model, ModelConfig, ModelLocation } from '../types.ts'

const MAX_SHARDS = 1024

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED */
export function openGguf(location: ModelLocation, fetcher?: RangeFetcher): Model {
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
    checkIsModel(metadata)
    const architecture = metadata.string('general.architecture')
    if (architecture === undefined) {
      throw corrupt(`'${files[0]?.path}' cannot be opened: it names no architecture`)
    }
    const gguf = new GgufFacts({
      architecture,
      name: cleanName(metadata.string('general.name') ?? '') || fallbackName(location),
      metadata,
      tensors: headers.flatMap((header) => header.tensors)
    })
    const facts = familyOfArchitecture(gguf)
    // Checked before its counts are used.
    const config = checkConfig(facts.fromGguf(gguf))
    checkGgufKeys(gguf, config.contextLength, config.ffnSize)
    const entries = headers.flatMap((header, i) =>
      header.tensors.flatMap((tensor) => entriesOf(tensor, files[i] as MappedFile, facts, config))
    )
    return createModel({
      config,
      location,
      tensors: createTensorStore(entries, files),
      fetcher,
      tokenizer: () => ggufTokenizer(metadata, config.vocabSize),
      chatTemplate: () => metadata.string('tokenizer.chat_template')
    })
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

/** Adapters, image encoders and importance matrices are GGUFs too. */
function checkIsModel(metadata: Metadata): void {
  const type = metadata.string('general.type') ?? 'model'
  if (type === 'model') return
  throw unsupported(`The GGUF cannot be run: it is no model but '${cleanName(type)}'`, {
    hint: 'Give the file of the model itself'
  })
}

function fallbackName(location: ModelLocation): string {
  return cleanName(basename(location.paths[0] ?? '', '.gguf'))
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

/** One entry, or one for each expert if the tensor holds them all. */
function entriesOf(
  tensor: GgufTensor,
  file: MappedFile,
  facts: FamilyFacts,
  config: ModelConfig
): TensorEntry[] {
  const found = canonicalName(facts, config, tensor.name)
  if (!found) {
    throw unsupported(
      `The model cannot be run: tensor '${tensor.name}' is not known of ${config.family} models`
    )
  }
  const { name, part, isBias } = found
  const { type, shape, sizeBytes, offset } = tensor
  const order = orderOf(part, 'gguf', config, isBias)
  if (!name.includes('*')) {
    return [{ info: { name, type, shape, sizeBytes }, file, offset, order }]
  }
  const [count = 0, ...rest] = shape
  if (count !== config.expertCount || rest.length === 0) {
    throw corrupt(
      `The GGUF cannot be opened: tensor '${tensor.name}' has ${count} experts, not ${config.expertCount}`
    )
  }
  const size = sizeBytes / count
  return Array.from({ length: count }, (_, expert) => ({
    info: { name: name.replace('*', String(expert)), type, shape: rest, sizeBytes: size },
    file,
    offset: offset + expert * size,
    order
  }))
}
