// Adapters from files of others: llama.cpp's GGUFs, and prompts. What cannot be applied is refused
// by name.
import { describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import { adapterNumbers, adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../src/model/open-model.ts'
import { readGgufLora } from '../../src/tune/adapter/gguf-lora.ts'
import { keepTrained } from '../../src/tune/adapter/keep.ts'
import { writePeft } from '../../src/tune/adapter/peft.ts'
import { readAdapter } from '../../src/tune/adapter/read-adapter.ts'
import { readFixture } from '../families/support/fixture.ts'
import { Numbers } from '../kernels/support/world.ts'
import {
  writeGguf,
  type GgufTensorSpec,
  type MetadataEntry
} from '../support/models/gguf-writer.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

const model = await openModel(readFixture('llama').location)
const { config } = model
model.close()

const RANK = 2
const ALPHA = 5
const TARGETS = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'mlp.down_proj']
const NAMES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'mlp.down_proj': 'ffn_down'
}
const shape = { rank: RANK, scale: ALPHA / RANK, targets: TARGETS }
const range = { start: 0, end: config.blockCount }
const values = new Numbers(1).floats(adapterNumbers(config, shape, range))

const FACTS: readonly MetadataEntry[] = [
  { key: 'general.type', type: 'string', value: 'adapter' },
  { key: 'general.architecture', type: 'string', value: 'llama' },
  { key: 'adapter.type', type: 'string', value: 'lora' },
  { key: 'adapter.lora.alpha', type: 'f32', value: ALPHA }
]

const bytesOf = (list: Float32Array): Uint8Array => new Uint8Array(list.slice().buffer)

/** As llama.cpp's converter writes them: rows of queries and keys in pairs for RoPE. */
function paired(b: Float32Array, heads: number): Float32Array {
  const out = new Float32Array(b.length)
  const each = b.length / RANK / heads
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < each / 2; i++) {
      for (const half of [0, 1]) {
        const [from, to] = [head * each + i + (half * each) / 2, head * each + 2 * i + half]
        out.set(b.subarray(from * RANK, (from + 1) * RANK), to * RANK)
      }
    }
  }
  return out
}

function tensors(): GgufTensorSpec[] {
  const made: GgufTensorSpec[] = []
  let at = 0
  const parts = adapterParts(config).filter(({ target }) => TARGETS.includes(target))
  for (let block = 0; block < config.blockCount; block++) {
    for (const { target, inputs, outputs } of parts) {
      const a = values.slice(at, (at += RANK * inputs))
      const b = values.slice(at, (at += outputs * RANK))
      const heads = { q_proj: config.headCount, k_proj: config.kvHeadCount }[
        target.slice(target.lastIndexOf('.') + 1)
      ]
      const rows = heads === undefined ? b : paired(b, heads)
      const name = `blk.${block}.${NAMES[target]}.weight`
      made.push(
        { name: `${name}.lora_a`, type: 'F32', shape: [RANK, inputs], bytes: bytesOf(a) },
        { name: `${name}.lora_b`, type: 'F32', shape: [outputs, RANK], bytes: bytesOf(rows) }
      )
    }
  }
  return made
}

function write(
  folder: TempFolder,
  given: { facts?: readonly MetadataEntry[]; tensors?: readonly GgufTensorSpec[] } = {}
): Promise<string> {
  const { facts: metadata = FACTS, tensors: all = tensors() } = given
  return folder.write('lora.gguf', writeGguf({ metadata, tensors: all }))
}

describe('a GGUF of llama.cpp', () => {
  test('has the numbers of the adapter that it was made from', async () => {
    await using folder = await tempFolder()
    expect(readGgufLora(await write(folder), config)).toEqual({ shape, values })
  })

  test('without alpha counts as it is', async () => {
    await using folder = await tempFolder()
    const path = await write(folder, { facts: FACTS.slice(0, 3) })
    expect(readGgufLora(path, config).shape.scale).toBe(1)
  })

  const [first, second, ...others] = tensors() as [GgufTensorSpec, GgufTensorSpec]
  const renamed = (name: string): GgufTensorSpec[] => [{ ...first, name }, second, ...others]

  test.each<[string, Parameters<typeof write>[1], string]>([
    ['a model', { facts: FACTS.slice(1) }, "it is 'model'"],
    [
      'another architecture',
      { facts: FACTS.with(1, { key: 'general.architecture', type: 'string', value: 'gemma2' }) },
      "it is for 'gemma2'"
    ],
    [
      'another kind of adapter',
      { facts: FACTS.with(2, { key: 'adapter.type', type: 'string', value: 'dora' }) },
      "it is 'dora'"
    ],
    [
      'what adds to the head',
      { tensors: renamed('output.weight.lora_a') },
      "'output.weight.lora_a'"
    ],
    ['a missing half', { tensors: [first, ...others] }, "it lacks 'blk.0.attn_q.weight.lora_b'"],
    ['a block too many', { tensors: renamed('blk.99.attn_q.weight.lora_a') }, 'blk.99'],
    ['no matrices', { tensors: [] }, 'no matrices'],
    [
      'matrices of another model',
      { tensors: [{ ...first, shape: [1, 64], bytes: first.bytes.slice(0, 256) }, second] },
      'another shape'
    ]
  ])('is refused for %s', async (_, given, why) => {
    await using folder = await tempFolder()
    const path = await write(folder, given)
    expect(() => readGgufLora(path, config)).toThrow(why)
  })

  test('is refused for values that are no numbers', async () => {
    await using folder = await tempFolder()
    const bytes = bytesOf(new Float32Array(first.bytes.byteLength / 4).fill(NaN))
    const path = await write(folder, { tensors: [{ ...first, bytes }, second, ...others] })
    expect(() => readGgufLora(path, config)).toThrow('no numbers')
  })
})

describe('an adapter', () => {
  const id = new Uint8Array(32).fill(7)
  const of = { config, contentId: id }

  test('is read from a GGUF, and from the folders of peft and of trained prompts', async () => {
    await using folder = await tempFolder()
    const { path } = folder
    expect(await readAdapter(await write(folder), of)).toEqual({ lora: { shape, values } })
    await folder.write('peft/.keep', '')
    await writePeft(join(path, 'peft'), config, { adapter: { shape, values }, base: 'm' })
    expect(await readAdapter(join(path, 'peft'), of)).toEqual({ lora: { shape, values } })
    await folder.write('deep/.keep', '')
    const prompt = new Numbers(2).floats(3 * config.hiddenSize)
    const deepPrompt = new Numbers(3).floats(config.blockCount * prompt.length)
    await keepTrained(
      join(path, 'deep'),
      { prompt, deepPrompt },
      {
        shape: { method: 'deep-prompt', positions: 3 },
        config,
        base: { name: 'm', id: toHex(id) }
      }
    )
    expect(await readAdapter(join(path, 'deep'), of)).toEqual({ prompt, deepPrompt })
    const other = { config, contentId: new Uint8Array(32) }
    await expect(readAdapter(join(path, 'deep'), other)).rejects.toThrow('another model')
    await expect(readAdapter(join(path, 'nothing'), of)).rejects.toMatchObject({
      code: 'NOT_FOUND'
    })
  })
})
