// The built-in model for tests, and the same weights in other containers.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Model, ModelLocation } from '../../../src/model/types.ts'

const data = join(import.meta.dir, '..', '..', '..', 'src', 'model', 'data')

export const storiesLocation: ModelLocation = {
  kind: 'llama2c',
  paths: [join(data, 'stories260K.bin'), join(data, 'tok512.bin')]
}

/** The prompts of reference_completions.txt. */
export function readReferences(): {
  prompt: string
  promptIds: number[]
  ids: number[]
  text: string
}[] {
  const file = readFileSync(
    join(import.meta.dir, '..', '..', 'fixtures', 'reference_completions.txt'),
    'utf8'
  )
  return file
    .split('## prompt: ')
    .slice(1)
    .map((part) => {
      const lines = part.split('\n')
      const after = (start: string): string =>
        lines.find((line) => line.startsWith(start))!.replace(/^[^:]*: /, '')
      return {
        prompt: JSON.parse(lines[0]!) as string,
        promptIds: JSON.parse(after('prompt_ids')) as number[],
        ids: JSON.parse(after('generated_ids')) as number[],
        text: JSON.parse(after('text')) as string
      }
    })
}

/** Writes `model` (float32 weights) as a hub folder, its tensors spread over `files` files. */
export function writeHubFolder(model: Model, folder: string, files = 1): ModelLocation {
  const { config, tensors, tokenizer } = model
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(folder, name), JSON.stringify(value))
  write('config.json', {
    model_type: config.family,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.blockCount,
    num_attention_heads: config.headCount,
    num_key_value_heads: config.kvHeadCount,
    intermediate_size: config.ffnSize,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.contextLength,
    rope_theta: config.ropeTheta,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: config.tiedEmbedding,
    bos_token_id: tokenizer.bosId
  })
  write('tokenizer.json', tokenizer.json)
  write('tokenizer_config.json', { bos_token: '<s>', eos_token: { content: '</s>' } })
  const names = tensors.list().map((info) => info.name)
  const weightMap: Record<string, string> = {}
  for (let i = 0; i < files; i++) {
    const mine = names.filter((_, index) => index % files === i)
    const file = files === 1 ? 'model.safetensors' : `model-${i + 1}-of-${files}.safetensors`
    for (const name of mine) weightMap[name] = file
    const parts = mine.map((name) => ({
      name,
      shape: tensors.info(name).shape,
      bytes: tensors.read(name)
    }))
    writeFileSync(join(folder, file), safetensors(parts))
  }
  if (files > 1) write('model.safetensors.index.json', { weight_map: weightMap })
  return { kind: 'folder', paths: [folder] }
}

/** A safetensors file of F32 tensors; `change` may spoil its header first. */
export function safetensors(
  tensors: readonly { name: string; shape: readonly number[]; bytes: Uint8Array }[],
  change: (header: Record<string, unknown>) => void = () => {}
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let offset = 0
  for (const { name, shape, bytes } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes.byteLength] }
    offset += bytes.byteLength
  }
  change(header)
  const text = new TextEncoder().encode(JSON.stringify(header))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(text.byteLength), true)
  return Buffer.concat([length, text, ...tensors.map((tensor) => tensor.bytes)])
}
