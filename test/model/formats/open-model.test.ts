// The same weights out of every container, in every thread.
import { expect, test } from 'bun:test'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { toHex } from '../../../src/base/bytes.ts'
import { dequantise } from '../../../src/model/formats/dequantise.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { halfSplitRows } from '../../../src/model/formats/row-order.ts'
import { createTokenizer } from '../../../src/model/text/tokenizer.ts'
import { writeGguf } from '../../support/models/gguf-writer.ts'
import { smollm2Location } from '../../support/models/smollm2.ts'
import { storiesGguf } from '../../support/models/stories-gguf.ts'
import { readReferences, storiesLocation, writeHubFolder } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

test('openModel() reads a llama2.c checkpoint', async () => {
  const model = await openModel(storiesLocation)
  expect(model.config).toEqual({
    family: 'llama',
    name: 'stories260K',
    hiddenSize: 64,
    blockCount: 5,
    headCount: 8,
    kvHeadCount: 4,
    headDim: 8,
    ffnSize: 172,
    vocabSize: 512,
    contextLength: 512,
    ropeTheta: 10_000,
    rmsEps: Math.fround(1e-5),
    tiedEmbedding: true
  })
  expect(model.tensors.info('model.layers.4.mlp.down_proj.weight')).toEqual({
    name: 'model.layers.4.mlp.down_proj.weight',
    type: 'F32',
    shape: [64, 172],
    sizeBytes: 44_032
  })
  expect(model.chatTemplate).toBeUndefined()
})

test('openModel() reads a GGUF', async () => {
  const model = await openModel(await smollm2Location())
  expect(model.config).toEqual({
    family: 'llama',
    name: 'Smollm2 135M 8k Lc100K Mix1 Ep2',
    hiddenSize: 576,
    blockCount: 30,
    headCount: 9,
    kvHeadCount: 3,
    headDim: 64,
    ffnSize: 1536,
    vocabSize: 49_152,
    contextLength: 8192,
    ropeTheta: 100_000,
    rmsEps: Math.fround(1e-5),
    tiedEmbedding: true
  })
  const types = Object.groupBy(model.tensors.list(), (info) => info.type)
  expect(
    Object.entries(types)
      .map(([type, list]) => [type, list.length])
      .sort()
  ).toEqual([
    ['F32', 61],
    ['Q4_1', 210],
    ['Q8_0', 1]
  ])
  const { bosId, eosIds, addBos } = model.tokenizer
  expect({ bosId, eosIds, addBos }).toEqual({ bosId: 1, eosIds: [2, 0], addBos: false })
  expect(model.chatTemplate).toContain('<|im_start|>')
})

test('a checkpoint, a GGUF of it and a folder of it have the same tensors', async () => {
  await using folder = await tempFolder()
  const checkpoint = await openModel(storiesLocation)
  const path = join(folder.path, 'stories.gguf')
  writeFileSync(path, writeGguf(storiesGguf(checkpoint)))
  const gguf = await openModel({ kind: 'gguf', paths: [path] })
  const hub = await openModel(writeHubFolder(checkpoint, folder.path, 3))
  for (const { name } of checkpoint.tensors.list()) {
    expect(toHex(gguf.tensors.read(name))).toBe(toHex(checkpoint.tensors.read(name)))
    expect(toHex(hub.tensors.read(name))).toBe(toHex(checkpoint.tensors.read(name)))
  }
  expect(gguf.config).toEqual({ ...checkpoint.config, name: 'Stories' })
})

test('a checkpoint, a GGUF of it and a folder of it tokenize alike', async () => {
  await using folder = await tempFolder()
  const checkpoint = await openModel(storiesLocation)
  const path = join(folder.path, 'stories.gguf')
  writeFileSync(path, writeGguf(storiesGguf(checkpoint)))
  const gguf = await openModel({ kind: 'gguf', paths: [path] })
  const hub = await openModel(writeHubFolder(checkpoint, folder.path))
  const [first, ...others] = [checkpoint, gguf, hub].map((model) =>
    createTokenizer(model.tokenizer)
  )
  for (const text of ['Once upon a time', '', 'Zoë saw 12 dogs!\n "Hi"', ' a  b']) {
    const ids = first!.encode(text)
    expect(others.map((tokenizer) => tokenizer.encode(text))).toEqual([ids, ids])
  }
  expect([checkpoint, gguf].map((model) => model.tokenizer.bosId)).toEqual([1, 1])
  expect(hub.tokenizer.bosId).toBe(1)
  expect(hub.tokenizer.eosIds).toEqual([2])
})

test('q and k rows of a GGUF come out in half-split order, blocks untouched', async () => {
  const model = await openModel(await smollm2Location())
  const name = 'model.layers.7.self_attn.k_proj.weight'
  const bytes = model.tensors.read(name)
  const raw = await rawTensor('blk.7.attn_k.weight')
  const row = (data: Uint8Array, index: number): string =>
    toHex(data.subarray(index * 360, (index + 1) * 360))
  for (const [split, interleaved] of [
    [0, 0],
    [1, 2],
    [31, 62],
    [32, 1],
    [63, 63],
    [64, 64],
    [97, 67]
  ]) {
    expect(row(bytes, split!)).toBe(row(raw, interleaved!))
  }
})

test('halfSplitRows() moves pairs apart within each head', () => {
  const rows = Uint8Array.of(0, 1, 2, 3, 10, 11, 12, 13)
  expect([...halfSplitRows(rows, 8, 2)]).toEqual([0, 2, 1, 3, 10, 12, 11, 13])
  const bias = new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer)
  expect(new Float32Array(halfSplitRows(bias, 6, 1).buffer)).toEqual(
    Float32Array.of(0, 2, 4, 1, 3, 5)
  )
})

test('halfSplitRows() leaves the rows alone that RoPE does not rotate', () => {
  const rows = Uint8Array.of(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15)
  expect([...halfSplitRows(rows, 12, 2, 4)]).toEqual([0, 2, 1, 3, 4, 5, 10, 12, 11, 13, 14, 15])
  expect(() => halfSplitRows(rows, 12, 2, 8)).toThrow('Rows cannot be reordered')
})

test('a worker opens the location that the main thread sends', async () => {
  const location = await smollm2Location()
  const worker = new Worker(new URL('../../support/open-worker.ts', import.meta.url).href)
  const answer = new Promise<unknown>((resolve, reject) => {
    worker.addEventListener('message', (event: MessageEvent) => resolve(event.data), { once: true })
    worker.addEventListener('error', reject, { once: true })
  })
  worker.postMessage(location)
  const model = await openModel(location)
  const bytes = model.tensors.read('model.layers.0.self_attn.q_proj.weight')
  expect(await answer).toEqual({ vocabSize: 49_152, bytes: toHex(bytes.subarray(0, 64)) })
  worker.terminate()
})

test('embedTokens() gives the rows of the ids and refuses ids that are not there', async () => {
  const model = await openModel(storiesLocation)
  const all = dequantise('F32', model.tensors.read('model.embed_tokens.weight'))
  const rows = embedTokens(model, [403, 0, 511])
  expect(rows).toEqual(
    Float32Array.of(
      ...all.subarray(403 * 64, 404 * 64),
      ...all.subarray(0, 64),
      ...all.subarray(511 * 64)
    )
  )
  for (const id of [512, -1, 1.5, NaN]) {
    expect(() => embedTokens(model, [id])).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  }
})

test('a file of over 4 GiB, which no one view can hold, is read by the piece', async () => {
  await using folder = await tempFolder()
  const checkpoint = await openModel(storiesLocation)
  const spec = storiesGguf(checkpoint)
  const far = 5 * 2 ** 30
  const [first, ...rest] = spec.tensors
  const bytes = writeGguf({ ...spec, tensors: [...rest, { ...first!, offset: far }] })
  const header =
    bytes.byteLength - spec.tensors.reduce((sum, { bytes: each }) => sum + each.byteLength, 0)
  const path = join(folder.path, 'large.gguf')
  const file = openSync(path, 'w') // sparse: the gap takes no room on the disk
  writeSync(file, bytes, 0, bytes.byteLength - first!.bytes.byteLength, 0)
  writeSync(file, first!.bytes, 0, first!.bytes.byteLength, header + far)
  closeSync(file)
  const large = await openModel({ kind: 'gguf', paths: [path] })
  for (const { name } of checkpoint.tensors.list()) {
    expect(toHex(large.tensors.read(name))).toBe(toHex(checkpoint.tensors.read(name)))
  }
  expect(embedTokens(large, [0, 511, 403])).toEqual(embedTokens(checkpoint, [0, 511, 403]))
})

test('readRows() gives rows of read(), reordered ones too', async () => {
  const { tensors } = await openModel(await smollm2Location())
  for (const name of ['model.embed_tokens.weight', 'model.layers.3.self_attn.q_proj.weight']) {
    const { shape, sizeBytes } = tensors.info(name)
    const size = sizeBytes / shape[0]!
    const rows = tensors.read(name).subarray(100 * size, 103 * size)
    expect(toHex(tensors.readRows(name, 100, 3))).toBe(toHex(rows))
    expect(() => tensors.readRows(name, shape[0]! - 1, 2)).toThrow(RangeError)
  }
})

test('the reference completions are what the tokenizer reads and writes', async () => {
  const model = await openModel(storiesLocation)
  const tokenizer = createTokenizer(model.tokenizer)
  for (const { prompt, promptIds, ids, text } of readReferences()) {
    expect(tokenizer.encode(prompt, { addSpecial: true })).toEqual(promptIds)
    const stream = tokenizer.stream({ after: promptIds })
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(text)
  }
})

async function rawTensor(name: string): Promise<Uint8Array> {
  const { openMappedFile } = await import('../../../src/model/formats/mapped-file.ts')
  const { parseGgufHeader } = await import('../../../src/model/formats/gguf-header.ts')
  const file = openMappedFile((await smollm2Location()).paths[0]!)
  const tensor = parseGgufHeader(file).tensors.find((each) => each.name === name)!
  return file.bytes(tensor.offset, tensor.sizeBytes)
}
