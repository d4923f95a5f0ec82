// What files say of a model in their many ways: read as what it means, or refused by its name.
import { expect, test } from 'bun:test'
import { openModel } from '../../../src/model/open-model.ts'
import { yarnFactors } from '../../../src/model/families/rope.ts'
import type { ModelConfig } from '../../../src/model/types.ts'
import { randomModel, writeModel } from '../../families/support/random-model.ts'
import { type MetadataEntry, writeGguf } from '../../support/models/gguf-writer.ts'
import { storiesGguf } from '../../support/models/stories-gguf.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

/** The stories model with some metadata in place of, or beside, its own. */
async function configOf(...entries: readonly MetadataEntry[]): Promise<ModelConfig> {
  await using folder = await tempFolder()
  const spec = storiesGguf(await openModel(storiesLocation))
  const keys = new Set(entries.map(({ key }) => key))
  const metadata = [...spec.metadata.filter(({ key }) => !keys.has(key)), ...entries]
  const path = await folder.write('m.gguf', writeGguf({ ...spec, metadata }))
  const model = await openModel({ kind: 'gguf', paths: [path] })
  model.close()
  return model.config
}

async function hubConfigOf(change: object): Promise<ModelConfig> {
  await using folder = await tempFolder()
  const { config, tensors } = randomModel('llama', 1)
  const { rope_scaling: _, partial_rotary_factor: __, ...rest } = config
  const model = await openModel(
    writeModel({ config: { ...rest, ...change }, tensors }, folder.path)
  )
  model.close()
  return model.config
}

const f32 = (key: string, value: number): MetadataEntry => ({ key, type: 'f32', value })
const u32 = (key: string, value: number): MetadataEntry => ({ key, type: 'u32', value })
const text = (key: string, value: string): MetadataEntry => ({ key, type: 'string', value })
const refusal = (code: string, words: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(words) })

test('a list of equal numbers is that number, of differing ones is refused as such', async () => {
  const heads = (value: readonly number[]): MetadataEntry => ({
    key: 'llama.attention.head_count_kv',
    type: 'i32s',
    value
  })
  expect((await configOf(heads([4, 4, 4, 4, 4]))).kvHeadCount).toBe(4)
  await expect(configOf(heads([4, 4, 2, 4, 4]))).rejects.toThrow(
    refusal('UNSUPPORTED', "'llama.attention.head_count_kv' is not one number but several")
  )
})

test.each([
  ['rope.scaling.factor without a type', [f32('llama.rope.scaling.factor', 4)]],
  ['rope.scale_linear', [f32('llama.rope.scale_linear', 4)]],
  [
    'the type linear',
    [text('llama.rope.scaling.type', 'linear'), f32('llama.rope.scaling.factor', 4)]
  ]
])('%s divides every frequency', async (_, entries) => {
  const config = await configOf(...entries)
  expect(config.ropeFactors).toEqual([4, 4, 4, 4])
})

test('a factor beside the type none is none, and 1 is none', async () => {
  const none = await configOf(
    text('llama.rope.scaling.type', 'none'),
    f32('llama.rope.scaling.factor', 4)
  )
  const one = await configOf(f32('llama.rope.scaling.factor', 1))
  expect([none.ropeFactors, one.ropeFactors]).toEqual([undefined, undefined])
})

test.each([
  ['a key that nobody knows', [f32('llama.new_magic', 2)], "'llama.new_magic' (2)"],
  ['a scale of logits', [f32('llama.logit_scale', 0.5)], "'llama.logit_scale' (0.5)"],
  ['shared experts', [u32('llama.expert_shared_count', 1)], "'llama.expert_shared_count' (1)"],
  ['an adapter', [text('general.type', 'adapter')], "'adapter'"]
])('%s is refused by name', async (_, entries, words) => {
  await expect(configOf(...entries)).rejects.toThrow(refusal('UNSUPPORTED', words))
})

test('keys that say what holds anyway are passed over', async () => {
  const plain = await configOf()
  expect(
    await configOf(
      u32('llama.vocab_size', 512),
      f32('llama.logit_scale', 1),
      u32('llama.expert_used_count', 2),
      u32('llama.attention.sliding_window', 512),
      { key: 'llama.attention.causal', type: 'bool', value: true }
    )
  ).toEqual(plain)
})

test('a window in a GGUF that says llama is Mistral’s', async () => {
  const { family, window } = await configOf(u32('llama.attention.sliding_window', 128))
  expect({ family, window }).toEqual({ family: 'mistral', window: 128 })
})

test.each([
  ['embedding_multiplier', { embedding_multiplier: 12 }],
  ['final_logit_softcapping', { final_logit_softcapping: 30 }]
])('%s in a config.json is refused', async (key, change) => {
  await expect(hubConfigOf(change)).rejects.toThrow(refusal('UNSUPPORTED', `'${key}'`))
})

test('RoPE over part of a head is read from both kinds of files, with its factors', async () => {
  const linear = { rope_type: 'linear', factor: 4 }
  const hub = [
    await hubConfigOf({ partial_rotary_factor: 0.5, rope_scaling: linear }),
    await hubConfigOf({ rotary_pct: 0.5, rope_scaling: linear }),
    await hubConfigOf({ rope_parameters: { ...linear, partial_rotary_factor: 0.5 } })
  ]
  const gguf = await configOf(
    u32('llama.rope.dimension_count', 4),
    f32('llama.rope.scaling.factor', 4)
  )
  for (const { headDim, rotaryDim, ropeFactors } of [...hub, gguf]) {
    expect([rotaryDim, ropeFactors]).toEqual([headDim / 2, Array(headDim / 4).fill(4)])
  }
  expect((await hubConfigOf({ partial_rotary_factor: 1 })).rotaryDim).toBeUndefined()
})

test.each([0, 3, 10])('RoPE over %d values of a head of 8 is refused', async (count) => {
  await expect(configOf(u32('llama.rope.dimension_count', count))).rejects.toThrow(
    refusal('CORRUPT', `RoPE over ${count} values of a head of 8`)
  )
})

test.each([0, -1, 1.5, 0.01])('RoPE over %d of a head is refused', async (share) => {
  await expect(hubConfigOf({ partial_rotary_factor: share })).rejects.toThrow(
    refusal('CORRUPT', 'RoPE over')
  )
})

// Numbers by transformers' formulas, in Python.
test('YaRN keeps fast frequencies, divides slow ones, and blends those between', () => {
  const yarn = { factor: 8, context: 2048, fast: 32, slow: 1 }
  const rounded = (isWhole: boolean): number[] =>
    yarnFactors(16, 10_000, { ...yarn, isWhole }).map((each) => Number(each.toFixed(6)))
  expect(rounded(true)).toEqual([1, 1, 1, 1.28, 1.777778, 2.909091, 8, 8])
  expect(rounded(false)).toEqual([1, 1, 1, 1.400595, 2.362316, 7.53894, 8, 8])
})

test.each([
  ['by the factor', { factor: 8 }, 1.2079441541679836],
  ['by two multipliers', { factor: 40, mscale: 1, mscale_all_dim: 0.707 }, 1.0857263992561355],
  ['as it says itself', { factor: 8, attention_factor: 1.5 }, 1.5],
  ['not at all', { factor: 8, attention_factor: 1 }, undefined]
])('YaRN of a hub scales %s', async (_, change, scale) => {
  const yarn = { rope_type: 'yarn', original_max_position_embeddings: 2048, ...change }
  const { ropeScale, ropeFactors } = await hubConfigOf({ rope_scaling: yarn })
  expect(ropeScale).toBe(scale === undefined ? undefined : Math.fround(scale))
  expect(ropeFactors?.at(-1)).toBe(change.factor)
})

test('YaRN of a GGUF is that of the hub', async () => {
  const entries = [
    text('llama.rope.scaling.type', 'yarn'),
    f32('llama.rope.scaling.factor', 8),
    u32('llama.rope.scaling.original_context_length', 2048)
  ]
  const { ropeFactors, ropeScale, ropeTheta, headDim } = await configOf(...entries)
  const yarn = { factor: 8, context: 2048, fast: 32, slow: 1, isWhole: true }
  expect(ropeFactors).toEqual(yarnFactors(headDim, ropeTheta, yarn))
  expect(ropeScale).toBe(Math.fround(1.2079441541679836))
  await expect(
    configOf(...entries, f32('llama.rope.scaling.yarn_log_multiplier', 0.1))
  ).rejects.toThrow(refusal('UNSUPPORTED', 'YaRN multiplier'))
})

test('LongRoPE takes the short factors, for the context that they were trained for', async () => {
  const { headDim } = await hubConfigOf({})
  const short = Array.from({ length: headDim / 2 }, (_, i) => 1 + i / 4)
  const scaling = { type: 'longrope', short_factor: short, long_factor: short.map((x) => 9 * x) }
  const config = await hubConfigOf({
    max_position_embeddings: 131_072,
    original_max_position_embeddings: 4096,
    rope_scaling: scaling
  })
  expect([config.ropeFactors, config.ropeScale, config.contextLength]).toEqual([
    short,
    Math.fround(1.1902380714238083),
    4096
  ])
})
