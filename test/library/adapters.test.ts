// Adapters as programs name them: folders, hub repositories and content ids; answers with them.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoDistributedModelForCausalLM } from '../../src/index.ts'
import { adapterNumbers, adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { adaptedIds } from '../../src/cli/run/api.ts'
import { fetchAdapterRepo } from '../../src/library/open/adapter-repo.ts'
import { parseAdapter } from '../../src/library/open/adapters.ts'
import { openModel } from '../../src/model/open-model.ts'
import { writePeft } from '../../src/tune/adapter/peft.ts'
import {
  AdapterPack,
  packSource,
  type AdapterSource
} from '../../src/weights/adapters/adapter-pack.ts'
import { fetchAdapter } from '../../src/weights/adapters/fetch-adapter.ts'
import { Numbers } from '../kernels/support/world.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(60_000)

const stories = await openModel(storiesLocation)
const { config } = stories
const targets = adapterParts(config).map(({ target }) => target)
const shape = { rank: 2, scale: 2, targets }
const range = { start: 0, end: config.blockCount }

function numbersOf(seed: number): Float32Array {
  return new Numbers(seed).floats(adapterNumbers(config, shape, range), 0.4)
}

let folder: TempFolder
let one: string
let other: string

beforeAll(async () => {
  folder = await tempFolder()
  one = join(folder.path, 'one')
  other = join(folder.path, 'other')
  for (const [i, path] of [one, other].entries()) {
    await Bun.write(join(path, 'notes'), '')
    const adapter = { shape, values: numbersOf(i + 1) }
    await writePeft(path, config, { adapter, base: 'stories260k' })
  }
})
afterAll(async () => {
  await folder[Symbol.asyncDispose]()
  stories.close()
})

/** A model whose blocks all run here: nobody is asked. */
function open(adapters: readonly string[]): Promise<AutoDistributedModelForCausalLM> {
  return AutoDistributedModelForCausalLM.from_pretrained('stories260k', {
    here: 'all',
    initial_peers: '127.0.0.1:1',
    cache_dir: folder.path,
    adapters,
    max_memory: 2 ** 28,
    threads: 1
  })
}

describe('answers', () => {
  const input_ids = [1, 403, 407, 261]
  const max_new_tokens = 12

  test('run with the adapters of from_pretrained() or of generate(), or none', async () => {
    await using plain = await open([])
    const asked = { input_ids, max_new_tokens }
    const [without] = await plain.generate(asked)
    const [first] = await plain.generate({ ...asked, adapter: one })
    const [half] = await plain.generate({ ...asked, adapters: [`${one}:0.5`, `${other}:-0.5`] })
    expect(new Set([without, first, half].map(String)).size).toBe(3)
    await using adapted = await open([one])
    expect(await adapted.generate(asked)).toEqual([first!])
    expect(await adapted.generate({ ...asked, adapters: [] })).toEqual([without!])
    await using session = adapted.inference_session()
    await session.step(input_ids)
    const saved = session.save()
    expect(() => plain.inference_session({ resume: saved })).toThrow('other adapters')
    expect(adapted.inference_session({ resume: saved }).ids).toEqual(input_ids)
    await expect(plain.generate({ ...asked, adapter: join(one, 'no') })).rejects.toMatchObject({
      code: 'NOT_FOUND'
    })
  })
})

test('a weight may stand behind a name', () => {
  expect([
    parseAdapter('folder'),
    parseAdapter('owner/name@main:0.5'),
    parseAdapter('a:b:-2'),
    parseAdapter('a:b')
  ]).toEqual([
    { name: 'folder', weight: 1 },
    { name: 'owner/name@main', weight: 0.5 },
    { name: 'a:b', weight: -2 },
    { name: 'a:b', weight: 1 }
  ])
})

describe('a content id', () => {
  const pack = new AdapterPack(
    { lora: { shape, values: numbersOf(1) }, prompt: new Numbers(4).floats(2 * config.hiddenSize) },
    stories
  )
  const good = packSource((id) => (id === pack.name ? pack : undefined))
  const lying: AdapterSource = {
    manifest: async () => new Uint8Array(40),
    part: async (_, { sizeBytes }) => new Uint8Array(sizeBytes)
  }
  const empty = packSource(() => undefined)

  test('gives the whole adapter, whoever lacks it or lies', async () => {
    const found = await fetchAdapter(pack.name, stories, [lying, empty, good])
    expect(found.name).toBe(pack.name)
    expect(found.prompt).toEqual(pack.prompt!)
    expect(found.part(3)).toEqual(pack.part(3))
  })

  test('gives nothing when nobody has it', async () => {
    await expect(fetchAdapter(pack.name, stories, [lying, empty])).rejects.toMatchObject({
      code: 'NOT_FOUND'
    })
  })

  test('is another for other numbers, weights of other models, and rounded numbers', () => {
    const halves = numbersOf(1).map((value) => Math.f16round(value))
    const packs = [
      new AdapterPack({ lora: { shape, values: numbersOf(2) } }, stories),
      new AdapterPack({ lora: { shape, values: halves } }, stories),
      new AdapterPack(
        { lora: { shape, values: halves } },
        { config, contentId: new Uint8Array(32) }
      )
    ]
    expect(new Set([pack, ...packs].map(({ name }) => name)).size).toBe(4)
    expect(packs.map(({ manifest }) => manifest.dtype)).toEqual(['f32', 'f16', 'f16'])
  })
})

describe("a hub's repository", () => {
  const bytesOf = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

  test('gives the folder of peft, once', async () => {
    await using cache = await tempFolder()
    const names = ['adapter_config.json', 'adapter_model.safetensors']
    const files = Object.fromEntries(names.map((name) => [name, bytesOf(join(one, name))]))
    await using hub = await hubRepo({
      repo: 'some/lora',
      files: { ...files, 'README.md': new Uint8Array(3) }
    })
    const options = { cacheDir: cache.path, hub: { endpoint: hub.url } }
    const name = { repo: 'some/lora', revision: 'main' }
    const path = await fetchAdapterRepo(name, options)
    for (const file of names) expect(bytesOf(join(path, file))).toEqual(files[file]!)
    const { storeBytes } = hub
    expect(await fetchAdapterRepo(name, options)).toBe(path)
    expect(hub.storeBytes).toBe(storeBytes)
  })

  test('is refused when it has a pickle, several GGUFs or none', async () => {
    await using cache = await tempFolder()
    const ask = async (names: readonly string[]): Promise<string> => {
      const files = Object.fromEntries(names.map((name) => [name, new Uint8Array(9)]))
      await using hub = await hubRepo({ repo: 'some/lora', files })
      const options = { cacheDir: cache.path, hub: { endpoint: hub.url } }
      return await fetchAdapterRepo({ repo: 'some/lora', revision: 'main' }, options).catch(String)
    }
    expect(await ask(['adapter_config.json', 'adapter_model.bin'])).toContain('has no')
    expect(await ask(['a.gguf', 'b.gguf'])).toContain('several adapters')
    expect(await ask(['README.md'])).toContain('has no adapter')
  })
})

describe('models with adapters of the API', () => {
  test('are named by model and adapter', () => {
    expect(
      Object.fromEntries(adaptedIds(['m'], ['calm=dir/calm', 'dir/loud', 'both=a:0.5,b:0.5']))
    ).toEqual({
      'm+calm': { model: 'm', adapters: ['dir/calm'] },
      'm+loud': { model: 'm', adapters: ['dir/loud'] },
      'm+both': { model: 'm', adapters: ['a:0.5', 'b:0.5'] }
    })
    expect([...adaptedIds(['m', 'o/n'], ['o/n+calm=c']).keys()]).toEqual(['o/n+calm'])
  })

  test.each([
    [['m', 'n'], ['calm=c']],
    [['m'], ['x+calm=c']],
    [['m'], ['calm=']],
    [['m'], ['a b=c']],
    [['m'], ['calm=c', 'calm=d']]
  ])('are refused for %p %p', (ids, given) => {
    expect(() => adaptedIds(ids, given)).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  })
})
