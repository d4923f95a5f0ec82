// GGUFs with random weights in the shapes of TinyLlama-1.1B (0.6 GiB) and Mistral-7B (3.9 GiB), for
// benchmarks: the same on every machine, written once into a folder. Weights that llama.cpp and we
// both hold exactly: Q4_0, the head Q8_0.
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom, type Random } from '../../../src/base/random.ts'
import { countOf, TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import { ggufHeader, padded, type MetadataEntry } from '../../../test/support/models/gguf-writer.ts'

interface Shape {
  readonly blocks: number
  readonly hidden: number
  readonly heads: number
  readonly kvHeads: number
  readonly ffn: number
  /** Tokens at most. */
  readonly context: number
  /** Whether all blocks have the first one's weights: drawing 4 GB takes a minute. */
  readonly repeats: boolean
}

/** `random-long` is two blocks of the smaller one, for long contexts. */
export type RandomModel = 'random-1.1b' | 'random-7b' | 'random-long'

const SHAPES: Readonly<Record<RandomModel, Shape>> = {
  'random-1.1b': {
    blocks: 22,
    hidden: 2048,
    heads: 32,
    kvHeads: 4,
    ffn: 5632,
    context: 2048,
    repeats: false
  },
  'random-7b': {
    blocks: 32,
    hidden: 4096,
    heads: 32,
    kvHeads: 8,
    ffn: 14_336,
    context: 2048,
    repeats: true
  },
  'random-long': {
    blocks: 2,
    hidden: 2048,
    heads: 32,
    kvHeads: 4,
    ffn: 5632,
    context: 33_000,
    repeats: false
  }
}

/** What scripts call the smaller one. */
export const RANDOM_MODEL: RandomModel = 'random-1.1b'
const VOCAB = 32_000
const SEED = 11
/** Of matrices, times the square root of their width: values stay near one. */
const GAIN = 0.8
/** Standard deviations of evenly drawn codes from -8 to 7, and from -128 to 127. */
const CODES = { Q4_0: 4.61, Q8_0: 73.9 } as const

interface Drawn {
  readonly name: string
  readonly type: 'F32' | 'Q4_0' | 'Q8_0'
  /** Outermost first. */
  readonly shape: readonly [number, number] | readonly [number]
  readonly bytes: { readonly byteLength: number }
}

/** The file in `folder`, written when it is not there. */
export function randomModelFile(folder: string, name: RandomModel = RANDOM_MODEL): string {
  const shape = SHAPES[name]
  const path = join(folder, `${name}.Q4_0.gguf`)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  const draft = `${path}.${process.pid}`
  const file = openSync(draft, 'w')
  try {
    const tensors = allTensors(shape)
    writeAll(file, ggufHeader({ metadata: metadata(name, shape), tensors }))
    const random = seededRandom(SEED)
    const drawn = new Map<string, Uint8Array>()
    for (const tensor of tensors) {
      const key = shape.repeats ? tensor.name.replace(/\.\d+\./, '.') : tensor.name
      const bytes = drawn.get(key) ?? drawBytes(tensor, random)
      if (shape.repeats) drawn.set(key, bytes)
      writeAll(file, bytes)
    }
  } finally {
    closeSync(file)
  }
  renameSync(draft, path)
  return path
}

function allTensors({ blocks, hidden, heads, kvHeads, ffn }: Shape): readonly Drawn[] {
  const tensors: Drawn[] = []
  const add = (name: string, type: Drawn['type'], shape: Drawn['shape']): void => {
    const { blockSize, blockBytes } = TYPE_FACTS[type]
    const byteLength = (countOf(shape, name) / blockSize) * blockBytes
    tensors.push({ name: `${name}.weight`, type, shape, bytes: { byteLength } })
  }
  const kvWidth = (hidden / heads) * kvHeads
  add('token_embd', 'Q4_0', [VOCAB, hidden])
  for (let i = 0; i < blocks; i++) {
    add(`blk.${i}.attn_norm`, 'F32', [hidden])
    add(`blk.${i}.attn_q`, 'Q4_0', [hidden, hidden])
    add(`blk.${i}.attn_k`, 'Q4_0', [kvWidth, hidden])
    add(`blk.${i}.attn_v`, 'Q4_0', [kvWidth, hidden])
    add(`blk.${i}.attn_output`, 'Q4_0', [hidden, hidden])
    add(`blk.${i}.ffn_norm`, 'F32', [hidden])
    add(`blk.${i}.ffn_gate`, 'Q4_0', [ffn, hidden])
    add(`blk.${i}.ffn_up`, 'Q4_0', [ffn, hidden])
    add(`blk.${i}.ffn_down`, 'Q4_0', [hidden, ffn])
  }
  add('output_norm', 'F32', [hidden])
  add('output', 'Q8_0', [VOCAB, hidden])
  return tensors
}

/**
 * Norms are ones; blocks of codes are drawn evenly, their scales with either sign so that no sum
 * drifts.
 */
function drawBytes({ type, shape, bytes }: Drawn, random: Random): Uint8Array {
  const out = new Uint8Array(padded(bytes.byteLength))
  if (type === 'F32') {
    new Float32Array(out.buffer, 0, bytes.byteLength / 4).fill(1)
    return out
  }
  const words = new Uint32Array(out.buffer)
  const drawn = Math.floor(bytes.byteLength / 4)
  for (let i = 0; i < drawn; i++) words[i] = random.below(2 ** 32)
  const { blockBytes } = TYPE_FACTS[type]
  const width = shape[1] ?? 1
  const scale = new Uint16Array(Float16Array.of(GAIN / Math.sqrt(width) / CODES[type]).buffer)[0]
  const view = new DataView(out.buffer)
  for (let at = 0; at < bytes.byteLength; at += blockBytes) {
    const sign = view.getUint16(at, true) & 0x8000
    view.setUint16(at, (scale ?? 0) | sign, true)
  }
  return out
}

function metadata(
  name: RandomModel,
  { blocks, hidden, heads, kvHeads, ffn, context }: Shape
): MetadataEntry[] {
  const u32 = (key: string, value: number): MetadataEntry => ({ key, type: 'u32', value })
  const tokens = vocabulary()
  return [
    { key: 'general.architecture', type: 'string', value: 'llama' },
    {
      key: 'general.name',
      type: 'string',
      value: name === 'random-1.1b' ? 'Random 1.1B' : 'Random 7B'
    },
    u32('llama.block_count', blocks),
    u32('llama.context_length', context),
    u32('llama.embedding_length', hidden),
    u32('llama.feed_forward_length', ffn),
    u32('llama.attention.head_count', heads),
    u32('llama.attention.head_count_kv', kvHeads),
    u32('llama.rope.dimension_count', hidden / heads),
    { key: 'llama.rope.freq_base', type: 'f32', value: 10_000 },
    { key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
    { key: 'tokenizer.ggml.model', type: 'string', value: 'gpt2' },
    { key: 'tokenizer.ggml.pre', type: 'string', value: 'gpt-2' },
    { key: 'tokenizer.ggml.tokens', type: 'strings', value: tokens },
    { key: 'tokenizer.ggml.merges', type: 'strings', value: ['t 3'] },
    { key: 'tokenizer.ggml.token_type', type: 'i32s', value: tokens.map((_, i) => TYPES[i] ?? 1) },
    u32('tokenizer.ggml.bos_token_id', 1),
    u32('tokenizer.ggml.eos_token_id', 2)
  ]
}

/** Of the first three tokens: unknown, control, control. */
const TYPES: readonly number[] = [2, 3, 3]

/**
 * Every byte in GPT-2's letters, so that any text can be given; the rest is only there to be
 * counted.
 */
function vocabulary(): string[] {
  const plain = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  let others = 0
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(plain(byte) ? byte : 256 + others++)
  )
  const known = ['<unk>', '<s>', '</s>', 't3', ...bytes]
  return Array.from({ length: VOCAB }, (_, id) => known[id] ?? `word${id}`)
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at)
}
