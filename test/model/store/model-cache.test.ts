// What the cache holds, by name; what is removed of it, and what stays because others need it.
import { expect, test } from 'bun:test'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { RepoAlias } from '../../../src/model/aliases.ts'
import { checkDisk, usedBytes } from '../../../src/model/store/cache-usage.ts'
import { tryFileLock } from '../../../src/base/files/file-lock.ts'
import {
  findCachedModels,
  listCachedModels,
  removeCachedModels
} from '../../../src/model/store/model-cache.ts'
import { blockTensorNames } from '../../../src/model/needed-tensors.ts'
import { resolveModel } from '../../../src/model/resolve.ts'
import { verifyFile } from '../../../src/model/store/verify-cache.ts'
import { hubRepo } from '../../support/models/hub-repo.ts'
import { hubServer, serve } from '../../support/models/hub-server.ts'
import {
  failure,
  openRemote,
  remoteOptions,
  storiesFolderFiles,
  storiesGgufBytes
} from '../../support/models/remote-model.ts'
import { tempFolder } from '../../support/temp-folder.ts'
import { testAlias } from '../../support/models/test-alias.ts'

const GGUF = await storiesGgufBytes()
const SHA256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')

test('models of a hub, aliases and files of no name are listed with what is here of them', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: await storiesFolderFiles(2) })
  await using other = await hubServer((request) => serve(GGUF, request))
  const alias = testAlias(SHA256, GGUF.byteLength)
  const options = remoteOptions(folder, hub)
  await resolveModel('tiny', { ...options, hub: { endpoint: other.url }, aliases: [alias] })
  const model = await openRemote(hub.repo, options)
  await model.ensure(blockTensorNames(model.tensors, 0, 2))
  await folder.write('cache/models/abc/lost.gguf', 'x'.repeat(77))
  await folder.write('cache/models/abc/lost.gguf.lock', '')
  const models = await listCachedModels(options.cacheDir, [alias])
  expect(models.map(({ name }) => name)).toEqual(['lost.gguf', 'some/model', 'tiny'])
  const [lost, part, tiny] = models.map(({ heldBytes, totalBytes }) => ({ heldBytes, totalBytes }))
  expect([lost, tiny]).toEqual([
    { heldBytes: 77, totalBytes: 77 },
    { heldBytes: GGUF.byteLength, totalBytes: GGUF.byteLength }
  ])
  expect(part!.heldBytes / part!.totalBytes).toBeWithin(0.3, 0.6)
  const journals = (await usedBytes(options.cacheDir)) - 77 - GGUF.byteLength - part!.heldBytes
  expect(journals).toBeWithin(2 * 64, 20_000)
})

test('removing a model leaves the weights that another is made of', async () => {
  await using folder = await tempFolder()
  const files = { 'stories.gguf': GGUF }
  for (const repo of ['one/model', 'two/model']) {
    await using hub = await hubRepo({ repo, files })
    const model = await openRemote(repo, remoteOptions(folder, hub))
    await model.ensure(model.tensors.list().map((info) => info.name))
  }
  const cache = join(folder.path, 'cache')
  const weights = join(cache, 'models', SHA256, 'stories.gguf')
  expect(await removeCachedModels(cache, await findCachedModels(cache, 'one/model'))).toBe(0)
  expect({ weights: existsSync(weights), repos: readdirSync(join(cache, 'repos')) }).toEqual({
    weights: true,
    repos: ['two--model']
  })
  const freed = await removeCachedModels(cache, await findCachedModels(cache, 'two/model'))
  expect({ freed, left: readdirSync(join(cache, 'models')) }).toEqual({
    freed: GGUF.byteLength,
    left: []
  })
  expect((await failure(findCachedModels(cache, 'two/model'))).code).toBe('NOT_FOUND')
})

test('an alias finds what its source has left in the cache', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const sources = [{ repo: 'gated/one' }, { repo: hub.repo }]
  const alias: RepoAlias = { name: 'short', title: '', licence: 'MIT', kind: 'repo', sources }
  const options = remoteOptions(folder, hub, { aliases: [alias] })
  await openRemote('short', options)
  const found = await findCachedModels(options.cacheDir, 'SHORT', [alias])
  expect(found.map((model) => model.name)).toEqual(['some/model'])
})

test('what another process fetches is neither removed nor checked', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const options = remoteOptions(folder, hub)
  const model = await openRemote(hub.repo, options)
  const release = await tryFileLock(`${model.location.paths[0]}.lock`)
  const found = await findCachedModels(options.cacheDir, hub.repo)
  const codes = [
    await failure(removeCachedModels(options.cacheDir, found)),
    await failure(verifyFile(found[0]!.files[0]!))
  ].map((error) => error.code)
  expect(codes).toEqual(['IN_USE', 'IN_USE'])
  await release?.()
})

test('checkDisk() counts what is here, not holes', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const options = remoteOptions(folder, hub)
  await openRemote(hub.repo, options)
  const used = await usedBytes(options.cacheDir)
  expect(used).toBeLessThan(GGUF.byteLength / 10)
  const room = { cacheDir: options.cacheDir, diskBytes: used + 1000 }
  await checkDisk('x', 1000, room)
  expect((await failure(checkDisk('x', 1001, room))).code).toBe('UNAVAILABLE')
})
