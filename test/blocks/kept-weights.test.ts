// Converted weights that are kept: found again without the source, thrown away when they are no
// good, and got round when the disk has no room.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AppError } from '../../src/base/errors.ts'
import { spanParts } from '../../src/blocks/weights/span-parts.ts'
import { planSpan } from '../../src/blocks/span-plan.ts'
import type { Quant } from '../../src/blocks/types.ts'
import type { WeightPart } from '../../src/blocks/weights/weight-part.ts'
import {
  bytesOfStored,
  WeightStore,
  type WeightStoreOptions
} from '../../src/blocks/weights/weight-store.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import {
  convertedFolder,
  listConverted,
  removeConverted,
  sweepUnfinished,
  verifyConverted
} from '../../src/model/store/converted-cache.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelLocation } from '../../src/model/types.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'
import { NEVER, testEngine } from './support/engine-helpers.ts'
import { randomRows, writeRandomLlama } from './support/random-llama.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const ID = 'ab'.repeat(32)
const SHAPE = { hidden: 64, blocks: 3, heads: 4, kvHeads: 2, headDim: 16, ffn: 96, context: 64 }

let folder: TempFolder
let location: ModelLocation
const rows = randomRows(3, SHAPE.hidden)

beforeAll(async () => {
  folder = await tempFolder()
  const plain = await writeRandomLlama(folder, { ...SHAPE, type: 'Q4_1', headType: 'Q8_0' })
  location = { ...plain, contentId: ID }
})
afterAll(async () => {
  await folder[Symbol.asyncDispose]()
})

interface Outcome {
  hidden: Float32Array
  logits: Float32Array
  warnings: string[]
}

interface Run {
  from?: ModelLocation
  start?: number
  end?: number
  quant?: Quant
  store?: WeightStoreOptions
  memoryBytes?: number
  onnx?: boolean
}

/** What blocks and head make of the rows, with weights kept in `cacheDir`. */
async function run(cacheDir: string, options: Run = {}): Promise<Outcome> {
  const { from = location, start = 0, end = SHAPE.blocks, quant = 'native' } = options
  const warnings: string[] = []
  using test = testEngine({
    onnx: options.onnx ?? false,
    memoryBytes: options.memoryBytes ?? 2 ** 30,
    store: {
      keep: { cacheDir },
      onwarn: (text) => warnings.push(text),
      ...options.store
    }
  })
  const { span } = await test.load({ location: from, start, end, quant })
  const hidden = test.feed(span, rows, SHAPE.hidden, 3)
  const logits = test.engine.head(await test.engine.loadHead(from, 'native'), hidden.slice(), NEVER)
  return { hidden, logits, warnings }
}

/** Kept files by name, with when they were written. */
function kept(cacheDir: string): Record<string, number> {
  const root = convertedFolder(cacheDir, ID)
  const names = readdirSync(root).filter((name) => name.endsWith('.weights'))
  return Object.fromEntries(names.map((name) => [name, statSync(join(root, name)).mtimeMs]))
}

/** The model's file with a true header, and nothing but zeros for weights. */
async function hollow(): Promise<ModelLocation> {
  const path = location.paths[0] ?? ''
  const bytes = new Uint8Array(readFileSync(path))
  const model = await openModel(location)
  const sizes = model.tensors.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  model.close()
  bytes.fill(0, bytes.length - sizes)
  return { ...location, paths: [await folder.write('hollow.gguf', bytes)] }
}

describe('converted weights', () => {
  test('are found by a second start, which reads no weight of the source', async () => {
    await using cache = await tempFolder()
    const first = await run(cache.path)
    const files = kept(cache.path)
    const from = await hollow()
    const second = await run(cache.path, { from })
    expect(Object.keys(files)).toHaveLength(2 + SHAPE.blocks)
    expect(second).toEqual(first)
    expect(kept(cache.path)).toEqual(files)
    await using elsewhere = await tempFolder()
    expect((await run(elsewhere.path, { from })).hidden).not.toEqual(first.hidden)
  })

  test('of a block serve every span that has it', async () => {
    await using cache = await tempFolder()
    await run(cache.path, { start: 0, end: 2 })
    const before = kept(cache.path)
    await run(cache.path, { start: 1, end: 3 })
    const after = kept(cache.path)
    expect(Object.keys(after)).toHaveLength(Object.keys(before).length + 1)
    expect(after).toMatchObject(before)
  })

  test('of a model whose content is not known are not kept', async () => {
    await using cache = await tempFolder()
    const [plain = ''] = location.paths
    await run(cache.path, { from: { kind: 'gguf', paths: [plain] } })
    expect(listConverted(cache.path)).toEqual([])
  })

  test('are the same ones for every quantisation that holds the same bits, else other ones', async () => {
    await using cache = await tempFolder()
    const native = await run(cache.path)
    const count = Object.keys(kept(cache.path)).length
    const floats = await run(cache.path, { quant: 'f32' })
    expect(Object.keys(kept(cache.path))).toHaveLength(count)
    expect(floats.hidden).not.toEqual(native.hidden)
    await using other = await tempFolder()
    const of = { ...(await writeRandomLlama(other, SHAPE)), contentId: ID }
    const all = new Set<string>()
    for (const quant of ['f32', 'f16', 'int8', 'int4'] as const) {
      const { hidden } = await run(other.path, { from: of, quant })
      all.add(hidden.join())
    }
    // A table of positions, the head, and each block four times.
    expect([all.size, Object.keys(kept(other.path)).length]).toEqual([4, 2 + 4 * SHAPE.blocks])
    await run(other.path, { from: of, onnx: true })
    // The table of positions is the same for graphs; head and blocks are not.
    expect(Object.keys(kept(other.path))).toHaveLength(2 + 4 * SHAPE.blocks + 1 + SHAPE.blocks)
  })

  test('are read into memory where files cannot be mapped', async () => {
    await using cache = await tempFolder()
    const first = await run(cache.path)
    const store = { mapped: false }
    expect(await run(cache.path, { from: await hollow(), store })).toEqual(first)
    await using other = await tempFolder()
    expect(await run(other.path, { store })).toEqual(first)
    expect(kept(other.path)).toContainAllKeys(Object.keys(kept(cache.path)))
  })
})

const DAMAGE: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  'a weight that was changed': (bytes) => changed(bytes, bytes.length - 70),
  'a name that was changed': (bytes) => changed(bytes, 66),
  'a digest that was changed': (bytes) => changed(bytes, 25),
  'another version': (bytes) => changed(bytes, 8),
  'another key': (bytes) => changed(bytes, 40),
  'another beginning': (bytes) => changed(bytes, 0),
  'a table of 4 GB': (bytes) => filled(bytes, 12, 4),
  'a claim of 2 ** 64 bytes': (bytes) => filled(bytes, 16, 8),
  'its end cut off': (bytes) => bytes.slice(0, -64),
  'more behind its end': (bytes) => Buffer.concat([bytes, new Uint8Array(64)]),
  'its head cut off': (bytes) => bytes.slice(0, 40),
  nothing: () => new Uint8Array(0)
}

function changed(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice()
  copy[at]! ^= 1
  return copy
}

function filled(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return bytes.slice().fill(255, at, at + length)
}

describe('a file of converted weights', () => {
  for (const [what, spoil] of Object.entries(DAMAGE)) {
    test(`with ${what} is thrown away and made again`, async () => {
      await using cache = await tempFolder()
      const good = await run(cache.path, { end: 1 })
      const root = convertedFolder(cache.path, ID)
      const contents = (): Buffer[] =>
        Object.keys(kept(cache.path)).map((name) => readFileSync(join(root, name)))
      const before = contents()
      for (const name of Object.keys(kept(cache.path))) {
        writeFileSync(join(root, name), spoil(readFileSync(join(root, name))))
      }
      const again = await run(cache.path, { end: 1 })
      expect([again.hidden, again.logits]).toEqual([good.hidden, good.logits])
      expect(again.warnings).toHaveLength(before.length)
      expect(contents()).toEqual(before)
    })

    test(`with ${what} does not pass verifyConverted(), and is gone then`, async () => {
      await using cache = await tempFolder()
      await run(cache.path, { end: 1 })
      const [model] = listConverted(cache.path)
      const [path = ''] = model?.files.map((file) => file.path) ?? []
      let told = 0
      expect(await verifyConverted(path, { onbytes: (bytes) => void (told += bytes) })).toBe(true)
      expect(told).toBeGreaterThan(0)
      writeFileSync(path, spoil(readFileSync(path)))
      expect(await verifyConverted(path)).toBe(false)
      expect(listConverted(cache.path)[0]?.files).toHaveLength((model?.files.length ?? 0) - 1)
    })
  }

  test('is not left half made when loading is cancelled, nor when a process died', async () => {
    await using cache = await tempFolder()
    using engine = testEngine({ store: { keep: { cacheDir: cache.path } } })
    let steps = 0
    const loading = engine.engine.loadSpan(
      { location, start: 0, end: 3, quant: 'native' },
      async () => {
        if (++steps === 5) throw new Error('enough')
      }
    )
    expect(await loading.catch((error: Error) => error.message)).toBe('enough')
    const root = convertedFolder(cache.path, ID)
    expect(readdirSync(root).filter((name) => name.endsWith('.new'))).toEqual([])
    const dead = Bun.spawnSync([process.execPath, '--version']).pid
    const uuid = crypto.randomUUID()
    for (const pid of [dead, process.pid]) writeFileSync(join(root, `x.${pid}.${uuid}.new`), 'x')
    sweepUnfinished(root)
    expect(readdirSync(root).filter((name) => name.endsWith('.new'))).toEqual([
      `x.${process.pid}.${uuid}.new`
    ])
  })

  test('stays when loading is cancelled while it is checked', async () => {
    await using cache = await tempFolder()
    const wide = {
      ...SHAPE,
      hidden: 1024,
      ffn: 4096,
      heads: 16,
      kvHeads: 16,
      headDim: 64,
      blocks: 1
    }
    const big = { ...(await writeRandomLlama(cache, { ...wide, type: 'Q8_0' })), contentId: ID }
    const model = await openModel(big)
    const range = { start: 0, end: 1, quant: 'native' as const }
    const owner = { location: big }
    using stores = new DisposableStack()
    const load = (): Generator<void> => {
      const store = stores.use(new WeightStore({ keep: { cacheDir: cache.path } }, owner))
      const plan = planSpan(model.config, model.tensors, range)
      const [, part] = spanParts(model, plan, range, loadKernels())
      if (!part) throw new Error('There is no block')
      return store.load(part)
    }
    for (const _ of load());
    const files = kept(cache.path)
    const checking = load()
    expect(checking.next().done).toBe(false)
    checking.return(undefined)
    expect(kept(cache.path)).toEqual(files)
    model.close()
  })

  test('may be made by two at once', async () => {
    await using cache = await tempFolder()
    const model = await openModel(location)
    const range = { start: 0, end: 1, quant: 'native' as const }
    const block = (): WeightPart => {
      const plan = planSpan(model.config, model.tensors, range)
      const [, part] = spanParts(model, plan, range, loadKernels())
      if (!part) throw new Error('There is no block')
      return part
    }
    const owner = { location }
    using one = new WeightStore({ keep: { cacheDir: cache.path } }, owner)
    using two = new WeightStore({ keep: { cacheDir: cache.path } }, owner)
    const works = [one.load(block()), two.load(block())]
    for (let done = 0; done < works.length;) {
      done = works.filter((work) => work.next().done).length
    }
    const bytes = (store: WeightStore): Uint8Array[] =>
      [...store.tensors.values()].map((tensor) => bytesOfStored(tensor).slice())
    expect(bytes(one)).toEqual(bytes(two))
    expect(Object.keys(kept(cache.path))).toHaveLength(1)
    model.close()
  })
})

describe('a disk without room', () => {
  test('has weights in memory, and a warning', async () => {
    await using cache = await tempFolder()
    await using other = await tempFolder()
    const good = await run(other.path)
    const keep = { cacheDir: cache.path, diskBytes: 20_000 }
    const { hidden, logits, warnings } = await run(cache.path, { store: { keep } })
    expect([hidden, logits]).toEqual([good.hidden, good.logits])
    expect(warnings).toEqual([
      expect.stringMatching(/^Converted weights are not kept from .+ on: .+ that --disk allows$/)
    ])
  })

  test('has those of ONNX graphs in files without a name', async () => {
    await using cache = await tempFolder()
    await using other = await tempFolder()
    const good = await run(other.path, { onnx: true })
    const keep = { cacheDir: cache.path, diskBytes: 14_000 }
    const { hidden, logits, warnings } = await run(cache.path, { store: { keep }, onnx: true })
    expect([hidden, logits]).toEqual([good.hidden, good.logits])
    expect(warnings).toEqual([
      expect.stringMatching(/^Converted weights are not kept from .+ on: .+ that --disk allows$/),
      expect.stringMatching(/^Converted weights are not kept from the head on: /)
    ])
  })

  test('nor for files without a name has those of ONNX graphs in memory, within the budget', async () => {
    await using cache = await tempFolder()
    await using other = await tempFolder()
    const good = await run(other.path, { onnx: true })
    // A file where folders should be made: nothing can be written there, not even by root.
    const blocked = await cache.write('file', '')
    const store = { keep: { cacheDir: join(blocked, 'cache') }, folder: join(blocked, 'scratch') }
    const { hidden, logits, warnings } = await run(cache.path, { store, onnx: true })
    expect([hidden, logits]).toEqual([good.hidden, good.logits])
    expect(
      warnings.filter((text) => text.startsWith('Weights are held in memory twice'))
    ).toHaveLength(2)
    const tight = await run(cache.path, { store, memoryBytes: 90_000, onnx: true }).catch(
      (error: AppError) => [error.code, error.message]
    )
    expect(tight).toEqual(['NO_MEMORY', expect.stringContaining('no room on the disk')])
  })
})

test('removing converted weights leaves those that have them mapped their own', async () => {
  await using cache = await tempFolder()
  using engine = testEngine({ store: { keep: { cacheDir: cache.path } } })
  const { span } = await engine.load({ location, start: 0, end: 3, quant: 'native' })
  const before = engine.feed(span, rows, SHAPE.hidden, 3)
  const models = listConverted(cache.path)
  expect(models.map(({ paths }) => paths)).toEqual([[...location.paths]])
  expect(removeConverted(models)).toBe(models[0]?.sizeBytes ?? -1)
  expect(listConverted(cache.path)).toEqual([])
  expect(engine.feed(span, rows, SHAPE.hidden, 3)).toEqual(before)
})
