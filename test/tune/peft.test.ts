import { describe, expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../src/model/open-model.ts'
import { newAdapter } from '../../src/tune/adapter/new-adapter.ts'
import { readPeft, writePeft } from '../../src/tune/adapter/peft.ts'
import { readCheckpoint, writeCheckpoint } from '../../src/tune/checkpoint.ts'
import { newAdamWState } from '../../src/tune/optimise/adamw.ts'
import { readFixture } from '../families/support/fixture.ts'
import { tempFolder } from '../support/temp-folder.ts'

const { config } = await openModel(readFixture('llama3').location)
const shape = { rank: 4, scale: 2, targets: ['self_attn.q_proj', 'mlp.down_proj'] }
const adapter = { shape, values: newAdapter(config, shape, 1).map((value, i) => value + i) }

describe("peft's folder", () => {
  test('is read as it was written', async () => {
    await using folder = await tempFolder()
    await writePeft(folder.path, config, { adapter, base: 'owner/model' })
    expect(await readPeft(folder.path, config)).toEqual(adapter)
    const facts = JSON.parse(
      readFileSync(join(folder.path, 'adapter_config.json'), 'utf8')
    ) as object
    expect(facts).toMatchObject({ r: 4, lora_alpha: 8, target_modules: ['q_proj', 'down_proj'] })
  })

  test.each([
    ['use_dora', true],
    ['bias', 'all'],
    ['modules_to_save', ['lm_head']],
    ['alpha_pattern', { '.*\\.q_proj': 2 }],
    ['init_lora_weights', 'pissa'],
    ['peft_type', 'IA3']
  ])('is refused by name for %s', async (key, value) => {
    await using folder = await tempFolder()
    await writePeft(folder.path, config, { adapter, base: 'm' })
    const path = join(folder.path, 'adapter_config.json')
    const facts = JSON.parse(readFileSync(path, 'utf8')) as object
    writeFileSync(path, JSON.stringify({ ...facts, [key]: value }))
    await expect(readPeft(folder.path, config)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining(`'${key}'`)
    })
  })

  test('of a model with other blocks is refused by the tensor', async () => {
    await using folder = await tempFolder()
    const other = { ...config, hiddenSize: config.hiddenSize * 2 }
    const wide = { shape, values: newAdapter(other, shape, 1) }
    await writePeft(folder.path, other, { adapter: wide, base: 'm' })
    await expect(readPeft(folder.path, config)).rejects.toThrow('layers.0.self_attn.q_proj.lora_A')
  })

  test('cannot be cut short', async () => {
    await using folder = await tempFolder()
    await writePeft(folder.path, config, { adapter, base: 'm' })
    const path = join(folder.path, 'adapter_model.safetensors')
    writeFileSync(path, readFileSync(path).subarray(0, 2000))
    await expect(readPeft(folder.path, config)).rejects.toMatchObject({ code: 'CORRUPT' })
  })
})

test('a new adapter changes nothing yet, and is the same for a seed', () => {
  const all = { ...shape, targets: adapterParts(config).map(({ target }) => target) }
  const values = newAdapter(config, all, 7)
  expect(newAdapter(config, all, 7)).toEqual(values)
  expect(newAdapter(config, all, 8)).not.toEqual(values)
  const [first] = adapterParts(config)
  const b = values.subarray(4 * first!.inputs, 4 * (first!.inputs + first!.outputs))
  expect(b.every((value) => value === 0)).toBe(true)
})

describe('a checkpoint', () => {
  const settings = { model: 'aa', seed: 1 }
  const state = { ...newAdamWState(3), step: 5 }
  const states = { prompt: { ...state, mean: Float32Array.of(1, 2, 3) } }
  const checkpoint = { step: 5, settings, values: { prompt: Float32Array.of(4, 5, 6) }, states }

  test('is read as it was written', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'c')
    expect(await readCheckpoint(path, settings)).toBeUndefined()
    await writeCheckpoint(path, checkpoint)
    expect(await readCheckpoint(path, settings)).toEqual(checkpoint)
  })

  test('of other settings is refused by the setting', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'c')
    await writeCheckpoint(path, checkpoint)
    await expect(readCheckpoint(path, { ...settings, seed: 2 })).rejects.toThrow("its 'seed' was 1")
  })
})
