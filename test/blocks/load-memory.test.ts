// The most memory that loading a block takes: beside what the block itself holds, one tensor of it
// and a little.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { Quant } from '../../src/blocks/types.ts'
import { countOf, sizeOf } from '../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../src/model/types.ts'
import { ggufHeader, padded, type MetadataEntry } from '../support/models/gguf-writer.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'
import type { LoadMemory } from './support/load-memory-process.ts'

setDefaultTimeout(120_000)

const HIDDEN = 1536
const FFN = 6144
/**
 * Code that is compiled on the way, the engine's and the collector's own, a band of floats: 20 to
 * 40 seen.
 */
const SLACK_MIB = 64

/** One block of zeros: of memory, only sizes count, and a file of holes takes no time. */
async function writeBlock(folder: TempFolder, type: TensorType): Promise<string> {
  const matrix = (name: string, rows: number, columns: number, its: TensorType = type) => {
    const shape = [rows, columns]
    return {
      name: `${name}.weight`,
      type: its,
      shape,
      bytes: { byteLength: sizeOf(its, shape, name) }
    }
  }
  const vector = (name: string) => {
    const shape = [HIDDEN]
    return {
      name: `${name}.weight`,
      type: 'F32' as const,
      shape,
      bytes: { byteLength: 4 * countOf(shape, name) }
    }
  }
  const tensors = [
    matrix('token_embd', 32, HIDDEN, 'F32'),
    vector('output_norm'),
    vector('blk.0.attn_norm'),
    matrix('blk.0.attn_q', HIDDEN, HIDDEN),
    matrix('blk.0.attn_k', HIDDEN, HIDDEN),
    matrix('blk.0.attn_v', HIDDEN, HIDDEN),
    matrix('blk.0.attn_output', HIDDEN, HIDDEN),
    vector('blk.0.ffn_norm'),
    matrix('blk.0.ffn_gate', FFN, HIDDEN),
    matrix('blk.0.ffn_up', FFN, HIDDEN),
    matrix('blk.0.ffn_down', HIDDEN, FFN)
  ]
  const u32 = (key: string, value: number): MetadataEntry => ({ key, type: 'u32', value })
  const header = ggufHeader({
    metadata: [
      { key: 'general.architecture', type: 'string', value: 'llama' },
      u32('llama.block_count', 1),
      u32('llama.context_length', 64),
      u32('llama.embedding_length', HIDDEN),
      u32('llama.feed_forward_length', FFN),
      u32('llama.attention.head_count', 24),
      u32('llama.attention.head_count_kv', 24),
      { key: 'llama.attention.layer_norm_rms_epsilon', type: 'f32', value: 1e-5 },
      { key: 'tokenizer.ggml.model', type: 'string', value: 'llama' },
      {
        key: 'tokenizer.ggml.tokens',
        type: 'strings',
        value: Array.from({ length: 32 }, (_, id) => `t${id}`)
      }
    ],
    tensors
  })
  const path = await folder.write(`${type}.gguf`, header)
  const data = tensors.reduce((sum, { bytes }) => sum + padded(bytes.byteLength), 0)
  truncateSync(path, header.byteLength + data)
  return path
}

async function load(path: string, quant: Quant, cacheDir: string): Promise<LoadMemory> {
  const program = join(import.meta.dir, 'support', 'load-memory-process.ts')
  const child = Bun.spawn([process.execPath, program, path, quant, cacheDir], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const [text, code] = await Promise.all([child.stdout.text(), child.exited])
  expect(code).toBe(0)
  return JSON.parse(text) as LoadMemory
}

const CASES: readonly (readonly [TensorType, Quant])[] = [
  ['F16', 'f32'],
  ['F16', 'int4'],
  ['Q8_0', 'native']
]

for (const [type, quant] of CASES) {
  test.if(process.platform === 'linux')(
    `a block of ${type} held as ${quant} takes no more than one tensor while it is loaded`,
    async () => {
      await using folder = await tempFolder()
      const path = await writeBlock(folder, type)
      const tensor = sizeOf(type, [FFN, HIDDEN], 'ffn_up') / 2 ** 20
      const first = await load(path, quant, folder.path)
      const second = await load(path, quant, folder.path)
      // Nothing of the block itself is in memory: it lies in a file, which is mapped.
      expect(first.most).toBeLessThan(tensor + SLACK_MIB)
      expect(second.most).toBeLessThan(SLACK_MIB / 2)
      for (const { held } of [first, second]) expect(held).toBeLessThan(SLACK_MIB)
    }
  )
}
