// Names and configs as the hub's repositories really have them, beside those that transformers
// saves today.
import { expect, test } from 'bun:test'
import { openModel } from '../../src/model/open-model.ts'
import type { Family, ModelConfig } from '../../src/model/types.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { randomModel, writeModel } from './support/random-model.ts'
import type { HubModel } from './reference/model.ts'
import type { Weight } from './reference/ops.ts'

/** The model's facts and the names and bytes of its tensors, as the house sees them. */
async function seen(
  model: HubModel
): Promise<{ config: ModelConfig; tensors: Map<string, string> }> {
  await using folder = await tempFolder()
  const opened = await openModel(writeModel(model, folder.path))
  const tensors = new Map(
    opened.tensors.list().map(({ name, shape }) => {
      const hash = Bun.hash(opened.tensors.read(name)).toString()
      return [name, `${shape.join()} ${hash}`]
    })
  )
  opened.close()
  return { config: { ...opened.config, name: '' }, tensors }
}

function renamed(model: HubModel, change: (name: string) => string): Map<string, Weight> {
  return new Map([...model.tensors].map(([name, weight]) => [change(name), weight]))
}

const one: Weight = { shape: [1], values: new Float32Array(1) }

test('gemma3: the text part of a model that sees pictures, under either of its names', async () => {
  const model = randomModel('gemma3', 1)
  const expected = await seen(model)
  const { model_type: kind, ...text } = model.config
  const config = {
    model_type: 'gemma3',
    text_config: { ...text, model_type: kind },
    vision_config: {}
  }
  const older = renamed(model, (name) => `language_model.${name}`)
  older.set('vision_tower.vision_model.embeddings.patch_embedding.bias', one)
  older.set('multi_modal_projector.mm_soft_emb_norm.weight', one)
  expect(await seen({ config, tensors: older })).toEqual(expected)
  const newer = renamed(model, (name) => name.replace(/^model\./, 'model.language_model.'))
  newer.set('model.vision_tower.vision_model.post_layernorm.weight', one)
  expect(await seen({ config, tensors: newer })).toEqual(expected)
})

test('gemma3: RoPE by kind of block, as newer configs have it', async () => {
  const model = randomModel('gemma3', 2)
  const expected = await seen(model)
  const {
    rope_theta: theta,
    rope_scaling: scaling,
    rope_local_base_freq: local,
    ...rest
  } = model.config
  const config = {
    ...rest,
    rope_parameters: {
      full_attention: { rope_theta: theta, rope_type: 'default', ...(scaling as object | null) },
      sliding_attention: { rope_theta: local, rope_type: 'default' }
    }
  }
  expect(await seen({ ...model, config })).toEqual(expected)
})

for (const family of ['gpt2', 'bloom', 'falcon'] satisfies Family[]) {
  test(`${family}: the oldest checkpoints have no 'transformer.' before their names`, async () => {
    const model = randomModel(family, 1)
    const tensors = renamed(model, (name) => name.replace(/^transformer\./, ''))
    if (family === 'gpt2') {
      tensors.set('h.0.attn.bias', { shape: [1, 1, 2, 2], values: new Float32Array(4) })
      tensors.set('h.1.attn.masked_bias', one)
    }
    expect(await seen({ config: model.config, tensors })).toEqual(await seen(model))
  })
}

test("qwen2 and qwen3: a window in the config that 'use_sliding_window' does not switch on", async () => {
  for (const family of ['qwen2', 'qwen3'] satisfies Family[]) {
    const { layer_types: _, ...config } = randomModel(family, 1).config
    const off = { ...config, use_sliding_window: false, sliding_window: 5, max_window_layers: 1 }
    const { config: facts } = await seen({ ...randomModel(family, 1), config: off })
    expect([facts.window, facts.fullEvery]).toEqual([undefined, undefined])
  }
})

test('what a family leaves out of its config has its own default', async () => {
  const gemma = randomModel('gemma2', 1)
  const { tie_word_embeddings: tied, layer_types: types, ...rest } = gemma.config
  expect([tied, types]).toEqual([true, expect.any(Array)])
  const { config } = await seen({ ...gemma, config: rest })
  expect([config.tiedEmbedding, config.fullEvery]).toEqual([true, 2])
  const mixtral = randomModel('mixtral', 1)
  const { rope_theta: theta, ...without } = mixtral.config
  expect(theta).toBeDefined()
  expect((await seen({ ...mixtral, config: without })).config.ropeTheta).toBe(1_000_000)
})
