// The id of a model's weights: the same on every machine, another for other weights, hashed once.
import { expect, test } from 'bun:test'
import { readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toHex } from '../../../src/base/bytes.ts'
import { fileState, recallHash, rememberHash } from '../../../src/model/store/file-hashes.ts'
import { identifyModel } from '../../../src/model/store/identify.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { smollm2Location } from '../../support/models/smollm2.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

/** A copy of the built-in model, with one byte of its weights changed when asked. */
async function copyOfStories(folder: TempFolder, change?: number): Promise<Model> {
  const bytes = Buffer.from(readFileSync(storiesLocation.paths[0]!))
  if (change !== undefined) bytes[change]! ^= 1
  const path = await folder.write('copy.bin', bytes)
  return await openModel({ kind: 'llama2c', paths: [path, storiesLocation.paths[1]!] })
}

test('content ids are pinned: a change in them parts every swarm', async () => {
  const ids = [storiesLocation, await smollm2Location()].map(async (location) =>
    toHex((await openModel(location)).contentId)
  )
  expect(await Promise.all(ids)).toEqual([
    'bdbe851c1e9ad55b54fa34891c34a7ff6a00c789a67b0a59daa0d6faa8430e33',
    'e656df73b33930f75d8f9a2afda15024bf795a9eb6f75e88dace3d41c4015f50'
  ])
})

test('another name and place keep the id, one other bit of a weight changes it', async () => {
  await using folder = await tempFolder()
  const stories = await openModel(storiesLocation)
  expect(toHex((await copyOfStories(folder)).contentId)).toBe(toHex(stories.contentId))
  expect(toHex((await copyOfStories(folder, 500_000)).contentId)).not.toBe(toHex(stories.contentId))
})

test('identifyModel() gives the same id, and tells how far it is', async () => {
  const model = await openModel(await smollm2Location())
  const progress: number[] = []
  const id = await identifyModel(model, {
    onprogress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes)
  })
  expect(toHex(id)).toBe('e656df73b33930f75d8f9a2afda15024bf795a9eb6f75e88dace3d41c4015f50')
  expect(progress.at(-1)).toBe(1)
  expect(model.contentId).toBe(id)
})

test('the location that other threads open tells the id once it is known', async () => {
  const model = await openModel(storiesLocation)
  expect(model.location).toEqual(storiesLocation)
  const id = toHex(await identifyModel(model))
  expect(model.location).toEqual({ ...storiesLocation, contentId: id })
})

test('identifyModel() remembers: the second time nothing is hashed', async () => {
  await using folder = await tempFolder()
  const first = await identifyModel(await copyOfStories(folder), { cacheDir: folder.path })
  let hashed = 0
  const again = await openModel({
    kind: 'llama2c',
    paths: [join(folder.path, 'copy.bin'), storiesLocation.paths[1]!]
  })
  const second = await identifyModel(again, { cacheDir: folder.path, onprogress: () => hashed++ })
  expect({ same: toHex(second) === toHex(first), hashed }).toEqual({ same: true, hashed: 0 })
  expect(again.contentId).toBe(second)
})

test('identifyModel() does not believe what it remembers of a file that was touched', async () => {
  await using folder = await tempFolder()
  await identifyModel(await copyOfStories(folder), { cacheDir: folder.path })
  const changed = await copyOfStories(folder, 500_000)
  utimesSync(join(folder.path, 'copy.bin'), new Date('2026-01-01'), new Date('2026-01-01'))
  const id = await identifyModel(changed, { cacheDir: folder.path })
  expect(toHex(id)).toBe(toHex((await copyOfStories(folder, 500_000)).contentId))
})

test('a hash is not remembered of a file with other bytes of the same size and time', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('file', 'some bytes')
  const time = new Date('2026-01-01')
  utimesSync(path, time, time)
  await rememberHash(path, 'a'.repeat(64), folder.path)
  expect(await recallHash(path, folder.path)).toBe('a'.repeat(64))
  // As `cp -p` and `touch -r` leave it, in place and by another file.
  writeFileSync(path, 'same bytes')
  utimesSync(path, time, time)
  expect(await recallHash(path, folder.path)).toBeUndefined()
  await rememberHash(path, 'b'.repeat(64), folder.path)
  renameSync(await folder.write('other', 'more bytes'), path)
  utimesSync(path, time, time)
  expect(await recallHash(path, folder.path)).toBeUndefined()
})

test('a hash is not remembered of a file that changed while it was hashed', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('file', 'some bytes')
  const before = await fileState(path)
  writeFileSync(path, 'other bytes')
  await rememberHash(path, 'a'.repeat(64), folder.path, before)
  expect(await recallHash(path, folder.path)).toBeUndefined()
})

test('identifyModel() hashes again when what it remembers is damaged, and mends it', async () => {
  await using folder = await tempFolder()
  const id = await identifyModel(await copyOfStories(folder), { cacheDir: folder.path })
  const [name] = readdirSync(join(folder.path, 'file-hashes'))
  const path = await folder.write(`file-hashes/${name}`, 'nonsense')
  const again = await openModel({
    kind: 'llama2c',
    paths: [join(folder.path, 'copy.bin'), storiesLocation.paths[1]!]
  })
  expect(toHex(await identifyModel(again, { cacheDir: folder.path }))).toBe(toHex(id))
  const sha256 = new Bun.CryptoHasher('sha256').update(readFileSync(join(folder.path, 'copy.bin')))
  expect(readFileSync(path, 'utf8')).toBe(sha256.digest('hex'))
})

test('identifyModel() needs no cache that can be written', async () => {
  await using folder = await tempFolder()
  const blocked = await folder.write('file', 'x')
  const model = await copyOfStories(folder)
  expect(toHex(await identifyModel(model, { cacheDir: blocked }))).toBe(toHex(model.contentId))
})

test('identifyModel() can be stopped', async () => {
  const model = await openModel(await smollm2Location())
  const abort = new AbortController()
  const identifying = identifyModel(model, {
    signal: abort.signal,
    onprogress: () => abort.abort()
  })
  await expect(identifying).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }))
})

test('a closed model cannot be read', async () => {
  const model = await openModel(storiesLocation)
  model.close()
  model.close()
  expect(() => model.tensors.read('model.norm.weight')).toThrow(
    expect.objectContaining({ code: 'CLOSED' })
  )
  expect(() => model.tensors.info('none')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
})
