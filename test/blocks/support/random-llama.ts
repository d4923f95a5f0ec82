// A small Llama with random weights as a GGUF file, its matrices in any of the file's types.
import { join } from 'node:path'
import { seededRandom, type Random } from '../../../src/base/random.ts'
import { TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import type { ModelLocation, TensorType } from '../../../src/model/types.ts'
import {
  writeGguf,
  type GgufTensorSpec,
  type MetadataEntry
} from '../../support/models/gguf-writer.ts'
import type { TempFolder } from '../../support/temp-folder.ts'

export interface RandomLlama {
  hidden: number
  blocks: number
  heads: number
  kvHeads: number
  headDim: number
  ffn: number
  vocab?: number
  context?: number
  /** Type of all matrices of blocks, or of each by GGUF name. Default F32. */
  type?: TensorType | ((name: string) => TensorType)
  headType?: TensorType
  seed?: number
}

/** Writes the model into `folder`. */
export async function writeRandomLlama(
  folder: TempFolder,
  shape: RandomLlama
): Promise<ModelLocation> {
  const { hidden, blocks, heads, kvHeads, headDim, ffn, vocab = 64, context = 1024 } = shape
  const random = seededRandom(shape.seed ?? 1)
  const { type: types = 'F32' } = shape
  const typeOf = typeof types === 'function' ? types : (): TensorType => types
  const matrix = (
    name: string,
    rows: number,
    columns: number,
    type: TensorType
  ): GgufTensorSpec => ({
    name: `${name}.weight`,
    type,
    shape: [rows, columns],
    bytes: randomBlocks(type, rows * columns, columns ** -0.5, random)
  })
  const vector = (name: string): GgufTensorSpec => {
    const values = Float32Array.from({ length: hidden }, () => 0.5 + random.next())
    return { name: `${name}.weight`, type: 'F32', shape: [hidden], bytes: bytes(values) }
  }
  const tensors = [
    matrix('token_embd', vocab, hidden, shape.headType ?? 'F32'),
    vector('output_norm')
  ]
  for (let block = 0; block < blocks; block++) {
    const add = (name: string, rows: number, columns: number): void => {
      tensors.push(matrix(`blk.${block}.${name}`, rows, columns, typeOf(name)))
    }
    tensors.push(vector(`blk.${block}.attn_norm`), vector(`blk.${block}.ffn_norm`))
    add('attn_q', heads * headDim, hidden)
    add('attn_k', kvHeads * headDim, hidden)
    add('attn_v', kvHeads * headDim, hidden)
    add('attn_output', hidden, heads * headDim)
    add('ffn_gate', ffn, hidden)
    add('ffn_up', ffn, hidden)
    add('ffn_down', hidden, ffn)
  }
  const u32 = (key: string, value: number): MetadataEntry => ({ key, type: 'u32', value })
  const tokens = Array.from({ length: vocab }, (_, id) => `t${id}`)
  const file = writeGguf({
    metadata: [
      { key: 'general.architecture', type: 'string', value: 'llama' },
      { key: 'general.name', type: 'string', value: 'Random' },
      u32('llama.block_count', blocks),
      u32('llama.context_length', context),
      u32('llama.embedding_length', hidden),
      u32('llama.feed_forward_length', ffn),
      u32('llama.attention.head_count', heads),
      u32('llama.attention.head_count_kv', kvHeads),
      u32('llama.attention.key_length', headDim),
      u32('llama.attention.value_length', headDim),
      u32('llama.rope.dimension_count', headDim),
      { key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
      { key: 'llama.rope.freq_base', type: 'f32', value: 10000 },
      { key: 'tokenizer.ggml.model', type: 'string', value: 'llama' },
      { key: 'tokenizer.ggml.tokens', type: 'strings', value: tokens }
    ],
    tensors
  })
  const name = `random-${shape.seed ?? 1}-${heads}-${kvHeads}-${headDim}.gguf`
  await folder.write(name, file)
  return { kind: 'gguf', paths: [join(folder.path, name)] }
}

/** Random rows as a step's input. */
export function randomRows(count: number, width: number, seed = 7): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from({ length: count * width }, () => gaussian(random))
}

/** Whole blocks of a type whose values have about the deviation `scale`. */
export function randomBlocks(
  type: TensorType,
  count: number,
  scale: number,
  random: Random
): Uint8Array {
  if (type === 'F32')
    return bytes(Float32Array.from({ length: count }, () => scale * gaussian(random)))
  const half = (value: number): Uint8Array => bytes(new Float16Array([value]))
  if (type === 'BF16') {
    // The upper halves of floats.
    const floats = bytes(Float32Array.from({ length: count }, () => scale * gaussian(random)))
    return floats.filter((_, at) => at % 4 >= 2)
  }
  if (type === 'F16')
    return bytes(Float16Array.from({ length: count }, () => scale * gaussian(random)))
  const { blockSize, blockBytes } = TYPE_FACTS[type]
  const out = new Uint8Array((count / blockSize) * blockBytes)
  for (let i = 0; i < out.length; i++) out[i] = random.below(256)
  for (let at = 0; at < out.length; at += blockBytes) {
    const spread = 0.5 + random.next()
    switch (type) {
      case 'Q4_0':
        out.set(half((scale * spread) / 4), at)
        break
      case 'Q4_1':
        out.set(half((scale * spread) / 4), at)
        out.set(half(-scale * spread * (1.5 + random.next())), at + 2)
        break
      case 'Q5_0':
        out.set(half((scale * spread) / 9), at)
        break
      case 'Q5_1':
        out.set(half((scale * spread) / 9), at)
        out.set(half(-scale * spread * (1.5 + random.next())), at + 2)
        break
      case 'Q8_0':
        out.set(half((scale * spread) / 70), at)
        break
      case 'Q4_K':
      case 'Q5_K':
        out.set(half((scale * spread) / (type === 'Q4_K' ? 150 : 300)), at)
        out.set(half((scale * spread) / 20), at + 2)
        break
      case 'Q2_K':
        out.set(half((scale * spread) / 20), at + 80)
        out.set(half((scale * spread) / 10), at + 82)
        break
      case 'Q3_K':
        out.set(half((scale * spread) / 45), at + 108)
        break
      case 'IQ4_NL':
        out.set(half((scale * spread) / 70), at)
        break
      case 'IQ4_XS':
        out.set(half((scale * spread) / 1300), at)
        break
      case 'MXFP4':
        out[at] = 127 + Math.round(Math.log2((scale * spread) / 3))
        break
      case 'Q6_K':
        out.set(half((scale * spread) / 1400), at + 208)
        break
      default:
        throw new TypeError(`No random ${type}`)
    }
  }
  return out
}

function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}

function bytes(values: Float32Array | Float16Array): Uint8Array {
  return new Uint8Array(values.buffer)
}
