// Weights that are no numbers: refused by name while a block is loaded, before the engine takes any
// memory and before anything of them is kept.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AppError } from '../../src/base/errors.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { convertedFolder } from '../../src/model/store/converted-cache.ts'
import { openModel } from '../../src/model/open-model.ts'
import { TYPE_FACTS } from '../../src/model/formats/tensor-types.ts'
import type { ModelLocation, TensorType } from '../../src/model/types.ts'
import { testEngine } from '../blocks/support/engine-helpers.ts'
import { writeRandomLlama } from '../blocks/support/random-llama.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'
import { randomModel, writeModel } from './support/random-model.ts'

setDefaultTimeout(120_000)

const SHAPE = { hidden: 256, blocks: 1, heads: 4, kvHeads: 2, headDim: 64, ffn: 256, context: 64 }
const ID = 'ab'.repeat(32)
const NAN = [0x00, 0x7e] as const
const INFINITE = [0x00, 0x7c] as const

/** Where a block of each type has its float16 scales. */
const SCALES: readonly (readonly [TensorType, readonly number[]])[] = [
  ['Q4_0', [0]],
  ['Q4_1', [0, 2]],
  ['Q5_0', [0]],
  ['Q5_1', [0, 2]],
  ['Q8_0', [0]],
  ['Q4_K', [0, 2]],
  ['Q5_K', [0, 2]],
  ['Q6_K', [208]],
  ['F16', [0]]
]

/** The file with two bytes of the tensor changed. */
async function spoiltGguf(
  folder: TempFolder,
  location: ModelLocation,
  place: { tensor: string; offset: number; value: readonly [number, number] }
): Promise<ModelLocation> {
  const model = await openModel(location)
  const bytes = readFileSync(location.paths[0] ?? '')
  const held = model.tensors.read(place.tensor)
  const at = bytes.indexOf(held.subarray(0, 64))
  model.close()
  expect(at).toBeGreaterThan(0)
  bytes.set(place.value, at + place.offset)
  return { ...location, paths: [await folder.write('spoilt.gguf', bytes)], contentId: ID }
}

async function refusal(location: ModelLocation, quant: Quant, cacheDir: string): Promise<unknown> {
  using engine = testEngine({ store: { keep: { cacheDir } } })
  const { freeBytes } = engine.engine.stats()
  const error = await engine.load({ location, start: 0, end: 1, quant }).then(
    () => undefined,
    (thrown: AppError) => thrown
  )
  const kept = new Bun.Glob('*.weights').scanSync({
    cwd: convertedFolder(cacheDir, ID),
    onlyFiles: true
  })
  // Tables of positions are of no tensor.
  expect([...kept]).toHaveLength(1)
  expect(engine.engine.stats().freeBytes).toBe(freeBytes)
  return [error?.code, error?.message]
}

const refused = (tensor: string): unknown => [
  'CORRUPT',
  `Tensor '${tensor}' cannot be used: it holds values that are no numbers`
]

for (const [type, offsets] of SCALES) {
  test(`a scale of ${type} that is no number or endless is refused, whatever the weights are to be`, async () => {
    await using folder = await tempFolder()
    const location = await writeRandomLlama(folder, { ...SHAPE, type })
    const tensor = 'model.layers.0.mlp.down_proj.weight'
    const last = (SHAPE.hidden * SHAPE.ffn) / TYPE_FACTS[type].blockSize - 1
    for (const offset of offsets) {
      for (const [block, value, quant] of [
        [0, NAN, 'native'],
        [last, INFINITE, 'native'],
        [last, NAN, 'int4'],
        [0, NAN, 'int8'],
        [last, NAN, 'f32']
      ] as const) {
        await using cache = await tempFolder()
        const place = { tensor, offset: block * TYPE_FACTS[type].blockBytes + offset, value }
        const spoilt = await spoiltGguf(folder, location, place)
        expect([quant, await refusal(spoilt, quant, cache.path)]).toEqual([quant, refused(tensor)])
      }
    }
  })
}

test('every tensor of a folder is held to it: matrices, norms, biases, experts, and the head', async () => {
  using engine = testEngine()
  for (const family of ['qwen2', 'mixtral', 'gpt2'] as const) {
    const model = randomModel(family, 1)
    const names = [...model.tensors.keys()].filter((name) => /^\D*(\.0\.|$)/.test(name))
    for (const name of names) {
      if (/embed|wte|wpe|inv_freq/.test(name)) continue
      await using folder = await tempFolder()
      const tensors = new Map(model.tensors)
      const old = tensors.get(name)
      if (!old) throw new Error(`There is no '${name}'`)
      const values = old.values.slice()
      values[values.length - 1] = Number.NaN
      tensors.set(name, { ...old, values })
      const location = writeModel({ ...model, tensors }, folder.path)
      const code = async (loading: Promise<unknown>): Promise<string> =>
        loading.then(
          () => 'loaded',
          (error: AppError) => `${error.code} ${error.message}`
        )
      const outcomes = [
        await code(engine.load({ location, start: 0, end: 1, quant: 'native' })),
        await code(engine.engine.loadHead(location, 'f32'))
      ]
      expect([family, name, outcomes]).toEqual([
        family,
        name,
        expect.arrayContaining([expect.stringMatching(/^CORRUPT Tensor .+ no numbers$/)]) as never
      ])
    }
  }
})

test('a spoilt block is none when its file is mended', async () => {
  await using folder = await tempFolder()
  const location = await writeRandomLlama(folder, { ...SHAPE, type: 'Q8_0' })
  const place = { tensor: 'model.layers.0.mlp.up_proj.weight', offset: 0, value: NAN }
  const spoilt = await spoiltGguf(folder, location, place)
  await refusal(spoilt, 'native', join(folder.path, 'cache'))
  using engine = testEngine({ store: { keep: { cacheDir: join(folder.path, 'cache') } } })
  const good = { ...location, contentId: ID }
  const { weightBytes } = await engine.load({ location: good, start: 0, end: 1, quant: 'native' })
  expect(weightBytes).toBeGreaterThan(0)
})
