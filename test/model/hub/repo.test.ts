// Models of a hub: only what is asked for is fetched, the same id as a whole copy, and every fault
// is told.
import { expect, test } from 'bun:test'
import { existsSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toHex } from '../../../src/base/bytes.ts'
import { blockTensorNames, clientTensorNames } from '../../../src/model/needed-tensors.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { tryFileLock } from '../../../src/base/files/file-lock.ts'
import type { Model } from '../../../src/model/types.ts'
import { hubRepo } from '../../support/models/hub-repo.ts'
import {
  CHUNK,
  failure,
  openRemote,
  remoteOptions,
  storiesFolderFiles,
  storiesGgufBytes
} from '../../support/models/remote-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const GGUF = await storiesGgufBytes()
const SHA256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
const FOLDER = await storiesFolderFiles(3)
const stories = await openModel(storiesLocation)

/** The same bytes as the built-in model has. */
function expectTensors(model: Model, names: readonly string[]): void {
  for (const name of names) {
    expect(toHex(model.tensors.read(name))).toBe(toHex(stories.tensors.read(name)))
  }
}

const weightBytes = (names: readonly string[]): number =>
  names.reduce((sum, name) => sum + stories.tensors.info(name).sizeBytes, 0)

for (const [kind, files] of [
  ['a GGUF', { 'stories.gguf': GGUF }],
  ['sharded safetensors', FOLDER]
] as const) {
  test(`a server fetches the tensors of its blocks out of ${kind}, and little else`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files })
    const model = await openRemote(hub.repo, remoteOptions(folder, hub))
    const headerBytes = hub.storeBytes
    const names = blockTensorNames(model.tensors, 1, 3)
    expect(model.missingBytes(names)).toBeGreaterThan(0.9 * weightBytes(names))
    await model.ensure(names)
    expectTensors(model, names)
    expect(model.missingBytes(names)).toBe(0)
    const runs = kind === 'a GGUF' ? 10 : names.length // neighbours share the chunks at their edges
    expect(hub.storeBytes - headerBytes).toBeLessThan(weightBytes(names) + 2 * runs * CHUNK)
    const other = 'model.layers.4.mlp.down_proj.weight'
    expect(() => model.tensors.read(other)).toThrow(
      expect.objectContaining({
        code: 'INTERNAL',
        message: expect.stringContaining(other) as string
      })
    )
    await model.ensure(names)
    const requests = hub.store.requests.length
    await model.ensure(names)
    expect(hub.store.requests.length).toBe(requests)
  })

  test(`a worker finds what was fetched of ${kind}`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files })
    const model = await openRemote(hub.repo, remoteOptions(folder, hub))
    await model.ensure(blockTensorNames(model.tensors, 0, 1))
    const worker = new Worker(new URL('../../support/open-worker.ts', import.meta.url).href)
    const answer = new Promise<unknown>((resolve, reject) => {
      worker.addEventListener('message', (event: MessageEvent) => resolve(event.data), {
        once: true
      })
      worker.addEventListener('error', reject, { once: true })
    })
    worker.postMessage(model.location)
    const bytes = stories.tensors.read('model.layers.0.self_attn.q_proj.weight')
    expect(await answer).toEqual({ vocabSize: 512, bytes: toHex(bytes.subarray(0, 64)) })
    worker.terminate()
  })

  test(`part of ${kind}, all of it and a copy on this disk have one id`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files })
    const model = await openRemote(hub.repo, remoteOptions(folder, hub))
    const part = toHex(model.contentId)
    await model.ensure(model.tensors.list().map((info) => info.name))
    const whole = await openModel(model.location)
    for (const [name, bytes] of Object.entries(files)) await folder.write(`copy/${name}`, bytes)
    const copy = await openModel(
      kind === 'a GGUF'
        ? { kind: 'gguf', paths: [join(folder.path, 'copy', 'stories.gguf')] }
        : { kind: 'folder', paths: [join(folder.path, 'copy')] }
    )
    expect(whole.files.map((file) => file.claimedSha256)).toEqual(whole.files.map(() => undefined))
    expect([toHex(whole.contentId), toHex(copy.contentId)]).toEqual([part, part])
  })
}

test('a client fetches embedding, norm and head, and opens a tokenizer', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  const names = clientTensorNames(model.tensors)
  expect(names).toEqual(['model.embed_tokens.weight', 'model.norm.weight'])
  await model.ensure(names)
  expectTensors(model, names)
  expect(model.tokenizer.bosId).toBe(1)
  expect(hub.storeBytes).toBeLessThan(GGUF.byteLength / 2)
})

test('a file of which all is fetched is checked, and is like any other then', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  const names = model.tensors.list().map((info) => info.name)
  const progress: number[] = []
  await model.ensure(names, {
    onprogress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes)
  })
  expectTensors(model, names)
  expect(progress).toEqual(progress.toSorted((a, b) => a - b))
  expect(progress.at(-1)).toBe(1)
  expect(readdirSync(join(folder.path, 'cache', 'models', SHA256))).toEqual(['stories.gguf'])
  expect(hub.storeBytes).toBe(GGUF.byteLength)
})

test('holes take no room on the disk', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  await model.ensure(blockTensorNames(model.tensors, 0, 1))
  const { size, blocks } = statSync(model.location.paths[0]!)
  expect({ size, isSparse: blocks * 512 < size / 2 }).toEqual({
    size: GGUF.byteLength,
    isSparse: true
  })
})

test('two that need the same at once fetch it once', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const options = remoteOptions(folder, hub)
  const models = await Promise.all([openRemote(hub.repo, options), openRemote(hub.repo, options)])
  const names = blockTensorNames(models[0].tensors, 0, 2)
  await Promise.all(models.map((model) => model.ensure(names)))
  for (const model of models) expectTensors(model, names)
  expect(hub.storeBytes).toBeLessThan(GGUF.byteLength)
})

test('who needs one region does not wait for who fetches another', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const options = remoteOptions(folder, hub)
  const regionBytes = 256 * CHUNK
  const regions = { ...options, ranges: { ...options.ranges, regionBytes } }
  const model = await openRemote(hub.repo, regions)
  const path = model.location.paths[0]!
  const others = (GGUF.byteLength / regionBytes) | 0
  // The embedding is in the first; whoever has the others is not done yet.
  const held = await tryFileLock(`${path}.${others}.lock`)
  const first = 'model.embed_tokens.weight'
  await model.ensure([first])
  expectTensors(model, [first])
  const last = 'model.layers.4.mlp.up_proj.weight'
  const waiting = model.ensure([last])
  expect(model.missingBytes([last])).toBeGreaterThan(0)
  await held?.()
  await waiting
  expectTensors(model, [last])
})

test('a header that is longer than the first look is fetched to its end', async () => {
  await using folder = await tempFolder()
  const { writeGguf } = await import('../../support/models/gguf-writer.ts')
  const { storiesGguf } = await import('../../support/models/stories-gguf.ts')
  const spec = storiesGguf(stories)
  const value = Array.from({ length: 90_000 }, (_, i) => `a long vocabulary's token ${i}`)
  const metadata = [...spec.metadata, { key: 'test.words', type: 'strings', value } as const]
  await using hub = await hubRepo({ files: { 'large.gguf': writeGguf({ ...spec, metadata }) } })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  expect(model.config.blockCount).toBe(5)
})

test('what is known and here opens without the hub; what is missing says that it does not answer', async () => {
  await using folder = await tempFolder()
  for (const files of [{ 'stories.gguf': GGUF }, FOLDER]) {
    const hub = await hubRepo({ files })
    const first = await openRemote(hub.repo, remoteOptions(folder, hub))
    const names = blockTensorNames(first.tensors, 2, 4)
    await first.ensure(names)
    await hub[Symbol.asyncDispose]()
    const model = await openRemote(hub.repo, remoteOptions(folder, hub))
    await model.ensure(names)
    expectTensors(model, names)
    expect(toHex(model.contentId)).toBe(toHex(first.contentId))
    const error = await failure(model.ensure(blockTensorNames(model.tensors, 0, 1)))
    expect({ code: error.code, message: error.message }).toEqual({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('does not answer') as string
    })
  }
})

test('a new revision whose weights are the same is not fetched again', async () => {
  await using folder = await tempFolder()
  const cached = await hubRepo({ files: FOLDER })
  const before = await openRemote(cached.repo, remoteOptions(folder, cached))
  await before.ensure(blockTensorNames(before.tensors, 0, 5))
  await cached[Symbol.asyncDispose]()
  const template = Buffer.from('{{ messages }}')
  await using hub = await hubRepo({ files: { ...FOLDER, 'chat_template.jinja': template } })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  await model.ensure(blockTensorNames(model.tensors, 0, 5))
  expect(hub.storeBytes).toBe(0)
  expect([model.chatTemplate, toHex(model.contentId)]).toEqual([
    '{{ messages }}',
    toHex(before.contentId)
  ])
})

test("a whole file in the cache of the hub's own tools is used where it lies", async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const path = await folder.write(`hf/hub/models--some--model/blobs/${SHA256}`, GGUF)
  const home = join(folder.path, 'hf')
  const model = await openRemote(hub.repo, remoteOptions(folder, hub, { hub: { home } }))
  expect({ paths: model.location.paths, fetched: hub.storeBytes }).toEqual({
    paths: [path],
    fetched: 0
  })
})

test('a damaged journal is told of, and with it removed the file is fetched again', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const first = await openRemote(hub.repo, remoteOptions(folder, hub))
  const [path = ''] = first.location.paths
  const journal = `${path}.chunks`
  for (const spoil of [
    () => truncateSync(journal, 100),
    () => writeFileSync(journal, new Uint8Array(statSync(journal).size))
  ]) {
    spoil()
    const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
    expect({ code: error.code, hint: error.hint }).toEqual({
      code: 'CORRUPT',
      hint: expect.stringContaining('Remove it') as string
    })
  }
  const { rm } = await import('node:fs/promises')
  await rm(path)
  expect(existsSync(journal)).toBe(true)
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  await model.ensure(blockTensorNames(model.tensors, 0, 1))
  expectTensors(model, blockTensorNames(model.tensors, 0, 1))
})
