// Files that lie about themselves: each is refused with a coded error, before memory is taken for
// the lie.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { toAppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelLocation } from '../../../src/model/types.ts'
import { randomModel, writeModel } from '../../families/support/random-model.ts'
import { ByteWriter, type GgufSpec, writeGguf } from '../../support/models/gguf-writer.ts'
import { outcome, spoil } from '../../support/hostile/hostile.ts'
import { storiesGguf } from '../../support/models/stories-gguf.ts'
import { safetensors, storiesLocation, writeHubFolder } from '../../support/models/stories.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

const REFUSED = new Set(['CORRUPT', 'UNSUPPORTED'])

async function openGguf(folder: TempFolder, bytes: Uint8Array): Promise<string> {
  return await outcome({ kind: 'gguf', paths: [await folder.write('model.gguf', bytes)] })
}

/**
 * Runs `round` many times and asserts that all outcomes are known ones, and that no memory was
 * taken.
 */
async function fuzz(
  rounds: number,
  seed: number,
  round: (seed: number) => Promise<string>
): Promise<void> {
  Bun.gc(true)
  const before = process.memoryUsage.rss()
  const seen = new Map<string, number>()
  for (let i = 0; i < rounds; i++) {
    const result = await round(seed + i)
    seen.set(result, (seen.get(result) ?? 0) + 1)
    if (result !== 'opened' && !REFUSED.has(result) && result !== 'NOT_FOUND') {
      throw new Error(`seed ${seed + i}: ${result}`)
    }
  }
  Bun.gc(true)
  expect(seen.get('CORRUPT')).toBeGreaterThan(rounds / 10)
  // The lies go up to 2^64 bytes; the files have one MiB.
  expect(process.memoryUsage.rss() - before).toBeLessThan(512 * 2 ** 20)
}

test('1,500 spoiled GGUF files are refused or opened, and none does harm', async () => {
  await using folder = await tempFolder()
  const good = writeGguf(storiesGguf(await openModel(storiesLocation)))
  const header = good.byteLength - 1_040_128
  await fuzz(1500, 1000, (seed) => openGguf(folder, spoil(good, seededRandom(seed), header)))
}, 60_000)

test('300 GGUF files that are cut off anywhere are refused', async () => {
  await using folder = await tempFolder()
  const good = writeGguf(storiesGguf(await openModel(storiesLocation)))
  const random = seededRandom(5)
  await fuzz(300, 0, (seed) => {
    const limit = seed % 2 === 0 ? good.byteLength - 1 : 20_000
    return openGguf(folder, good.subarray(0, random.below(limit)))
  })
}, 60_000)

test('500 spoiled llama2.c checkpoints and tokenizers are refused or opened', async () => {
  await using folder = await tempFolder()
  const [checkpoint, vocabulary] = storiesLocation.paths.map((path) => readFileSync(path))
  await fuzz(500, 2000, async (seed) => {
    const random = seededRandom(seed)
    const first = seed % 2 === 0 ? spoil(checkpoint!, random, 28) : checkpoint!
    const second = seed % 2 === 1 ? spoil(vocabulary!, random) : vocabulary!
    return await outcome({
      kind: 'llama2c',
      paths: [await folder.write('a.bin', first), await folder.write('tok.bin', second)]
    })
  })
}, 60_000)

test('800 spoiled safetensors files are refused or opened', async () => {
  await using folder = await tempFolder()
  const location = writeHubFolder(await openModel(storiesLocation), folder.path)
  const good = readFileSync(`${folder.path}/model.safetensors`)
  const header = Number(good.readBigUInt64LE(0)) + 8
  await fuzz(800, 3000, async (seed) => {
    await folder.write('model.safetensors', spoil(good, seededRandom(seed), header))
    return await outcome(location)
  })
}, 60_000)

const LYING_GGUFS: Readonly<Record<string, (spec: GgufSpec) => GgufSpec>> = {
  'has another magic number': (spec) => ({ ...spec, magic: 'GGML' }),
  'claims 2^60 tensors': (spec) => ({ ...spec, tensorCount: 2n ** 60n }),
  'claims 2^64 - 1 keys': (spec) => ({ ...spec, keyCount: 2n ** 64n - 1n }),
  'has a key of 2^40 bytes': (spec) => withKey(spec, new ByteWriter().u64(2n ** 40n)),
  'has a string of 2^63 bytes': (spec) =>
    withKey(
      spec,
      new ByteWriter()
        .string('x')
        .u32(8)
        .u64(2n ** 63n)
    ),
  'has an array of 2^50 numbers': (spec) =>
    withKey(
      spec,
      new ByteWriter()
        .string('x')
        .u32(9)
        .u32(4)
        .u64(2n ** 50n)
    ),
  'has an array of 2^28 strings': (spec) =>
    withKey(
      spec,
      new ByteWriter()
        .string('x')
        .u32(9)
        .u32(8)
        .u64(2n ** 28n)
    ),
  'nests arrays without end': (spec) => {
    const writer = new ByteWriter().string('x').u32(9)
    for (let i = 0; i < 10_000; i++) writer.u32(9).u64(1)
    return withKey(spec, writer)
  },
  'has metadata of an unknown type': (spec) => withKey(spec, new ByteWriter().string('x').u32(99)),
  'has a key twice': (spec) => ({ ...spec, metadata: [...spec.metadata, spec.metadata[0]!] }),
  'has a tensor twice': (spec) => ({ ...spec, tensors: [...spec.tensors, spec.tensors[0]!] }),
  'has an alignment of 3': (spec) => withAlignment(spec, 3),
  'has an alignment of 0': (spec) => withAlignment(spec, 0),
  'has a tensor past its end': (spec) => changeTensor(spec, { offset: 2 ** 40 }),
  'has a tensor at an odd place': (spec) => changeTensor(spec, { offset: 7 }),
  'has a tensor over another': (spec) => changeTensor(spec, { offset: 32 }),
  'has a tensor with a dimension of 0': (spec) => changeTensor(spec, { shape: [0, 64] }),
  'has a tensor of 2^80 values': (spec) => changeTensor(spec, { shape: [2 ** 40, 2 ** 40] }),
  'has a tensor of nine dimensions': (spec) =>
    changeTensor(spec, { shape: Array(9).fill(1) as number[] }),
  'has a tensor of no dimensions': (spec) => changeTensor(spec, { shape: [] }),
  'has rows that are no whole blocks': (spec) =>
    changeTensor(spec, { shape: [512, 63], typeId: 2 }),
  'has a matrix of another shape': (spec) => changeTensor(spec, { shape: [256, 128] }),
  'lacks a tensor': (spec) => ({ ...spec, tensors: spec.tensors.slice(0, -1) }),
  'has 2^31 heads': (spec) => withCount(spec, 'llama.attention.head_count', 2 ** 31),
  'has no heads': (spec) => withCount(spec, 'llama.attention.head_count', 0),
  'has 7 heads over 4': (spec) => withCount(spec, 'llama.attention.head_count', 7),
  'has 4,000,000,000 blocks': (spec) => withCount(spec, 'llama.block_count', 4e9),
  'has one block less than tensors': (spec) => withCount(spec, 'llama.block_count', 4),
  'has a text where a number belongs': (spec) => ({
    ...spec,
    metadata: spec.metadata.map((entry) =>
      entry.key === 'llama.block_count' ? { key: entry.key, type: 'string', value: '5' } : entry
    )
  })
}

for (const [lie, change] of Object.entries(LYING_GGUFS)) {
  test(`a GGUF that ${lie} is refused`, async () => {
    await using folder = await tempFolder()
    const bytes = writeGguf(change(storiesGguf(await openModel(storiesLocation))))
    expect(REFUSED).toContain(await openGguf(folder, bytes))
  })
}

const UNSUPPORTED_GGUFS: Readonly<Record<string, (spec: GgufSpec) => GgufSpec>> = {
  mamba2: (spec) => withText(spec, 'general.architecture', 'mamba2'),
  'version is 1': (spec) => ({ ...spec, version: 1 }),
  'big endian': (spec) => ({ ...spec, version: 3 << 24 }),
  'type 16': (spec) => changeTensor(spec, { typeId: 16 }),
  "RoPE scaling 'ntk'": (spec) => withText(spec, 'llama.rope.scaling.type', 'ntk'),
  'input_layernorm.bias': (spec) => ({
    ...spec,
    tensors: [
      ...spec.tensors,
      { name: 'blk.0.attn_norm.bias', type: 'F32', shape: [64], bytes: new Uint8Array(256) }
    ]
  }),
  'blk.0.attn_sinks': (spec) => ({
    ...spec,
    tensors: [
      ...spec.tensors,
      { name: 'blk.0.attn_sinks.weight', type: 'F32', shape: [8], bytes: new Uint8Array(32) }
    ]
  })
}

for (const [word, change] of Object.entries(UNSUPPORTED_GGUFS)) {
  test(`a GGUF that this build cannot run is told apart from a broken one: ${word}`, async () => {
    await using folder = await tempFolder()
    const bytes = writeGguf(change(storiesGguf(await openModel(storiesLocation))))
    const location: ModelLocation = { kind: 'gguf', paths: [await folder.write('m.gguf', bytes)] }
    await expect(openModel(location)).rejects.toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining(word) })
    )
  })
}

test('a GGUF opens with its shards in order, and in no other way', async () => {
  await using folder = await tempFolder()
  const spec = storiesGguf(await openModel(storiesLocation))
  const shard = async (no: number, tensors: GgufSpec['tensors']): Promise<string> => {
    const counts: GgufSpec['metadata'] = [
      { key: 'split.count', type: 'u32', value: 2 },
      { key: 'split.no', type: 'u32', value: no }
    ]
    return await folder.write(
      `s${no}.gguf`,
      writeGguf({ metadata: [...spec.metadata, ...counts], tensors })
    )
  }
  const first = await shard(0, spec.tensors.slice(0, 20))
  const second = await shard(1, spec.tensors.slice(20))
  const open = (...paths: string[]): Promise<string> => outcome({ kind: 'gguf', paths })
  expect(await open(first, second)).toBe('opened')
  expect([await open(first), await open(second, first), await open(first, first)]).toEqual([
    'CORRUPT',
    'CORRUPT',
    'CORRUPT'
  ])
})

const LYING_SAFETENSORS: Readonly<Record<string, (header: Record<string, unknown>) => void>> = {
  'an offset past the end': (header) =>
    (header['b'] = { dtype: 'F32', shape: [4], data_offsets: [16, 1e15] }),
  'offsets the wrong way round': (header) =>
    (header['b'] = { dtype: 'F32', shape: [4], data_offsets: [32, 16] }),
  'a negative offset': (header) =>
    (header['b'] = { dtype: 'F32', shape: [4], data_offsets: [-16, 0] }),
  'one tensor over another': (header) =>
    (header['b'] = { dtype: 'F32', shape: [4], data_offsets: [8, 24] }),
  'a shape of other bytes': (header) =>
    (header['b'] = { dtype: 'F32', shape: [5], data_offsets: [16, 32] }),
  'a shape of 2^80 values': (header) =>
    (header['b'] = { dtype: 'F32', shape: [2 ** 40, 2 ** 40], data_offsets: [16, 32] }),
  'a shape of text': (header) =>
    (header['b'] = { dtype: 'F32', shape: '4', data_offsets: [16, 32] }),
  'a type that is no text': (header) =>
    (header['b'] = { dtype: 7, shape: [4], data_offsets: [16, 32] }),
  'an empty shape of other bytes': (header) =>
    (header['b'] = { dtype: 'F32', shape: [0], data_offsets: [16, 32] }),
  'no tensor but null': (header) => (header['b'] = null)
}

for (const [lie, change] of Object.entries(LYING_SAFETENSORS)) {
  test(`a safetensors header with ${lie} is refused`, async () => {
    await using folder = await tempFolder()
    const { openMappedFile } = await import('../../../src/model/formats/mapped-file.ts')
    const { parseSafetensors } = await import('../../../src/model/formats/safetensors.ts')
    const bytes = new Uint8Array(16)
    const tensors = ['a', 'b'].map((name) => ({ name, shape: [4], bytes }))
    const good = await folder.write('good', safetensors(tensors))
    expect(parseSafetensors(openMappedFile(good)).length).toBe(2)
    const bad = await folder.write('bad', safetensors(tensors, change))
    expect(() => parseSafetensors(openMappedFile(bad))).toThrow(
      expect.objectContaining({ code: 'CORRUPT' })
    )
  })
}

test('tensors that nobody wants may be empty or of a type that is not known', async () => {
  const outcomeOf = async (change: (header: Record<string, unknown>) => void): Promise<string> => {
    await using folder = await tempFolder()
    const { config, tensors } = randomModel('llama', 1)
    const location = writeModel({ config, tensors }, folder.path)
    const file = join(folder.path, 'model.safetensors')
    const bytes = readFileSync(file)
    const length = Number(bytes.readBigUInt64LE())
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, unknown>
    change(header)
    const text = Buffer.from(JSON.stringify(header))
    const size = Buffer.alloc(8)
    size.writeBigUInt64LE(BigInt(text.byteLength))
    await folder.write('model.safetensors', Buffer.concat([size, text, bytes.subarray(8 + length)]))
    try {
      const model = await openModel(location)
      model.close()
      return 'opened'
    } catch (error) {
      return toAppError(error).code
    }
  }
  const norm = 'model.norm.weight'
  expect([
    await outcomeOf((header) => {
      header['spare'] = { dtype: 'F32', shape: [0, 4], data_offsets: [0, 0] }
      const spare = 'model.layers.0.self_attn.rotary_emb.inv_freq'
      header[spare] = { dtype: 'F4_X', shape: [3], data_offsets: [0, 0] }
    }),
    await outcomeOf(
      (header) => (header[norm] = { ...(header[norm] as object), dtype: 'toString' })
    ),
    await outcomeOf((header) => (header[norm] = { dtype: 'F32', shape: [0], data_offsets: [0, 0] }))
  ]).toEqual(['opened', 'UNSUPPORTED', 'CORRUPT'])
})

test('a folder whose index points outside of it is refused', async () => {
  await using folder = await tempFolder()
  const location = writeHubFolder(await openModel(storiesLocation), folder.path, 2)
  expect(await outcome(location)).toBe('opened')
  await folder.write('model.safetensors.index.json', '{"weight_map":{"a":"../../etc/passwd"}}')
  expect(await outcome(location)).toBe('NOT_FOUND')
})

test("escape sequences in a model's name do not reach a terminal", async () => {
  await using folder = await tempFolder()
  const spec = storiesGguf(await openModel(storiesLocation))
  const bytes = writeGguf(withText(spec, 'general.name', 'nice\u001b[2J\u202Emodel\n'))
  const model = await openModel({ kind: 'gguf', paths: [await folder.write('m.gguf', bytes)] })
  expect(model.config.name).toBe('nice[2Jmodel')
})

function withKey(spec: GgufSpec, writer: ByteWriter): GgufSpec {
  return { ...spec, keyCount: BigInt(spec.metadata.length + 1), extra: writer.bytes() }
}

function withAlignment(spec: GgufSpec, value: number): GgufSpec {
  return withCount(spec, 'general.alignment', value)
}

function withCount(spec: GgufSpec, key: string, value: number): GgufSpec {
  const rest = spec.metadata.filter((entry) => entry.key !== key)
  return { ...spec, metadata: [...rest, { key, type: 'u32', value }] }
}

function withText(spec: GgufSpec, key: string, value: string): GgufSpec {
  const rest = spec.metadata.filter((entry) => entry.key !== key)
  return { ...spec, metadata: [...rest, { key, type: 'string', value }] }
}

/** Changes the second tensor, so that there is one before it to lie over. */
function changeTensor(spec: GgufSpec, change: Partial<GgufSpec['tensors'][number]>): GgufSpec {
  const index = change.shape?.length === 2 ? 0 : 1
  return {
    ...spec,
    tensors: spec.tensors.map((tensor, i) => (i === index ? { ...tensor, ...change } : tensor))
  }
}
