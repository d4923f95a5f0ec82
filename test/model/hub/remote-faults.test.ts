// Hubs and stores that break off, ignore what is asked, refuse, lie, and disks without room.
import { expect, test } from 'bun:test'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { toHex } from '../../../src/base/bytes.ts'
import type { Clock } from '../../../src/base/clock.ts'
import { createLog } from '../../../src/base/log.ts'
import { blockTensorNames } from '../../../src/model/needed-tensors.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { hubRepo } from '../../support/models/hub-repo.ts'
import type { HubReply } from '../../support/models/hub-server.ts'
import {
  CHUNK,
  failure,
  openRemote,
  remoteOptions,
  storiesFolderFiles,
  storiesGgufBytes
} from '../../support/models/remote-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

const GGUF = await storiesGgufBytes()
const SHA256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
const FILES = { 'stories.gguf': GGUF }
const FOLDER = await storiesFolderFiles(2)
const stories = await openModel(storiesLocation)
const NAMES = stories.tensors.list().map((info) => info.name)

function expectAll(model: Model): void {
  for (const name of NAMES) {
    expect(toHex(model.tensors.read(name))).toBe(toHex(stories.tensors.read(name)))
  }
}

const modelFolder = (folder: TempFolder): string => join(folder.path, 'cache', 'models', SHA256)

test('a connection that drops is resumed behind the last whole chunk', async () => {
  await using folder = await tempFolder()
  let chunks = 0
  await using hub = await hubRepo({
    files: FILES,
    // Five chunks and a bit of each request for more.
    onstore(_, reply) {
      chunks = 0
      return { ...reply, ...(reply.body!.byteLength > 6 * CHUNK ? { stallAfter: 21_000 } : {}) }
    }
  })
  const options = remoteOptions(folder, hub)
  const model = await openRemote(hub.repo, {
    ...options,
    ranges: { ...options.ranges, connections: 1 }
  })
  const before = hub.store.requests.length
  await model.ensure(NAMES, {
    onprogress: () => {
      // Nothing more comes by itself: the request is for more than six, of which five are here.
      if (++chunks === 5) hub.store.drop()
    }
  })
  expectAll(model)
  const ranges = hub.store.requests.slice(before).map(({ headers }) => headers['range'] ?? '')
  const starts = ranges.map((range) => Number(/bytes=(\d+)/.exec(range)?.[1]))
  expect(starts).toEqual([...new Set(starts)].toSorted((a, b) => a - b))
  expect(starts.every((start) => start % CHUNK === 0)).toBe(true)
  expect(starts.length).toBeGreaterThan((2 * GGUF.byteLength) / (16 * CHUNK))
})

test('a body that falls silent is given up and resumed', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({
    files: FILES,
    onstore: (_, reply, index) => ({ ...reply, ...(index === 3 ? { stallAfter: CHUNK } : {}) })
  })
  const download = { backoffsMs: [0, 0], idleTimeoutMs: 1000 }
  const model = await openRemote(hub.repo, remoteOptions(folder, hub, { download }))
  await model.ensure(NAMES)
  expectAll(model)
})

test('a store that always fails is given up after the backoffs', async () => {
  await using folder = await tempFolder()
  let isBroken = false
  await using hub = await hubRepo({
    files: FILES,
    onstore: (_, reply) => (isBroken ? { status: 500 } : reply)
  })
  const options = remoteOptions(folder, hub)
  const model = await openRemote(hub.repo, {
    ...options,
    ranges: { ...options.ranges, connections: 1 }
  })
  const before = hub.store.requests.length
  isBroken = true
  expect((await failure(model.ensure(NAMES))).code).toBe('UNAVAILABLE')
  expect(hub.store.requests.length - before).toBe(3)
})

test('an abort stops the fetching, and what came is kept for the next start', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: FILES })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  const abort = new AbortController()
  let toldBytes = 0
  const stopped = model.ensure(NAMES, {
    signal: abort.signal,
    onprogress: ({ doneBytes }) => {
      toldBytes = doneBytes
      if (doneBytes > GGUF.byteLength / 2) abort.abort()
    }
  })
  expect((await failure(stopped)).code).toBe('CANCELLED')
  expect(readdirSync(modelFolder(folder)).sort()).toEqual(['stories.gguf', 'stories.gguf.chunks'])
  const again = await openRemote(hub.repo, remoteOptions(folder, hub))
  expect(again.missingBytes(NAMES)).toBeGreaterThan(0)
  const before = hub.storeBytes
  await again.ensure(NAMES)
  expectAll(again)
  // Nothing that was told of is fetched again.
  expect(hub.storeBytes - before).toBeLessThanOrEqual(GGUF.byteLength - toldBytes)
})

test('of a store that ignores ranges the whole is fetched once, and said so', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({
    files: FILES,
    onstore: () => ({ status: 200, body: GGUF })
  })
  const lines: string[] = []
  const log = createLog('warn', (line) => lines.push(line))
  const model = await openRemote(hub.repo, remoteOptions(folder, hub, { log }))
  await model.ensure(NAMES)
  expectAll(model)
  expect(lines).toEqual([expect.stringContaining('cannot be had in parts: all of it is fetched')])
  expect(readdirSync(modelFolder(folder))).toEqual(['stories.gguf'])
  expect(hub.store.requests.map(({ headers }) => headers['range'])).toEqual([
    `bytes=0-${CHUNK - 1}`,
    undefined
  ])
})

test('a whole that breaks off is begun again, as long as it brings more', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({
    files: FILES,
    onstore: (_request, _reply, index) => ({
      status: 200,
      body: GGUF,
      ...(index < 5 ? { dropAfter: 200_000 * index } : {})
    })
  })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  expectAll(model)
})

test('wrong bytes are found out when the file is whole, and nothing of them is left', async () => {
  await using folder = await tempFolder()
  const wrong = GGUF.slice()
  wrong[wrong.length - 5000]! ^= 1
  await using hub = await hubRepo({
    files: FILES,
    onstore: ({ headers }, reply) => {
      const [, start, end] = /bytes=(\d+)-(\d+)/.exec(headers['range'] ?? '') ?? []
      return { ...reply, body: wrong.subarray(Number(start), Number(end) + 1) }
    }
  })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  const error = await failure(model.ensure(NAMES))
  expect({ code: error.code, hint: error.hint }).toEqual({
    code: 'CORRUPT',
    hint: expect.stringContaining('thrown away') as string
  })
  expect(readdirSync(modelFolder(folder))).toEqual([])
})

for (const [what, files] of [
  ['a GGUF', FILES],
  ['safetensors', FOLDER]
] as const) {
  test(`a page of words in place of ${what} is refused, and nothing of it is left`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({
      files,
      onstore: (_, reply) => ({ ...reply, body: Buffer.alloc(reply.body!.byteLength, '<html>') })
    })
    const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
    expect({ code: error.code, hint: error.hint }).toEqual({
      code: 'CORRUPT',
      hint: expect.stringContaining('try again') as string
    })
    const models = join(folder.path, 'cache', 'models')
    expect(readdirSync(models).flatMap((name) => readdirSync(join(models, name)))).toEqual([])
  })
}

const LIES: Readonly<Record<string, (reply: HubReply) => HubReply>> = {
  'another range': (reply) => ({
    ...reply,
    headers: { 'content-range': `bytes 64-${CHUNK + 63}/${GGUF.byteLength}` }
  }),
  'a range of another file': (reply) => ({
    ...reply,
    headers: { 'content-range': `bytes 0-${CHUNK - 1}/${GGUF.byteLength + 1}` }
  }),
  'more than the range': (reply) => ({ ...reply, body: GGUF.subarray(0, 3 * CHUNK) }),
  'no range at all': (reply) => ({ ...reply, headers: {} }),
  'nothing at that place': () => ({ status: 416 })
}

for (const [what, lie] of Object.entries(LIES)) {
  test(`a store that gives ${what} is not believed`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files: FILES, onstore: (_, reply) => lie(reply) })
    expect((await failure(openRemote(hub.repo, remoteOptions(folder, hub)))).code).toBe('CORRUPT')
  })
}

for (const [what, claim] of [
  ['hash', { hash: 'ab'.repeat(32) }],
  ['size', { sizeBytes: GGUF.byteLength - 1 }]
] as const) {
  test(`a file whose ${what} is not the listed one is not fetched`, async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files: FILES, claims: { 'stories.gguf': claim } })
    const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
    expect({ code: error.code, hint: error.hint, fetched: hub.storeBytes }).toEqual({
      code: 'CORRUPT',
      hint: expect.stringContaining('@revision') as string,
      fetched: 0
    })
  })
}

test('a small file that is not what was listed is refused', async () => {
  await using folder = await tempFolder()
  const claims = { 'config.json': { hash: 'ab'.repeat(20) } }
  await using hub = await hubRepo({ files: FOLDER, claims })
  expect((await failure(openRemote(hub.repo, remoteOptions(folder, hub)))).code).toBe('CORRUPT')
})

test('links that run out are asked for again', async () => {
  await using folder = await tempFolder()
  let served = 0
  const hub = await hubRepo({
    files: FILES,
    onstore: (_, reply) => {
      if (++served % 5 === 0) hub.expireLinks()
      return reply
    }
  })
  await using _ = hub
  const options = remoteOptions(folder, hub)
  const model = await openRemote(hub.repo, {
    ...options,
    ranges: { ...options.ranges, connections: 1 }
  })
  await model.ensure(NAMES)
  expectAll(model)
})

test('one link serves many ranges', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: FILES })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  const before = hub.hub.requests.length
  await model.ensure(NAMES)
  const heads = hub.hub.requests.slice(before).map(({ method }) => method)
  expect({ heads, many: hub.store.requests.length > 10 }).toEqual({ heads: ['HEAD'], many: true })
})

test('429 is waited out for as long as it says, by all connections', async () => {
  await using folder = await tempFolder()
  const time = new FakeClock()
  const sleeps: number[] = []
  const clock: Clock = {
    now: () => time.now(),
    wall: () => time.wall(),
    after(ms, callback) {
      if (ms === 7000) sleeps.push(ms)
      return time.after(ms, callback)
    }
  }
  let refusals = 0
  await using hub = await hubRepo({
    files: FILES,
    onstore: (_, reply, index) =>
      index === 9 && refusals++ === 0 ? { status: 429, headers: { 'retry-after': '7' } } : reply
  })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub, { clock }))
  const done = model.ensure(NAMES)
  while (sleeps.length < 3) await settle()
  const before = hub.store.requests.length
  await time.advance(6999)
  expect({ refusals, since: hub.store.requests.length - before }).toEqual({ refusals: 1, since: 0 })
  await time.advance(1)
  await done
  expectAll(model)
})

test('a disk without room, and a budget that is spent, are told before anything is fetched', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: FILES })
  const names = blockTensorNames(stories.tensors, 0, 5)
  const small = await openRemote(hub.repo, {
    ...remoteOptions(folder, hub),
    download: { freeBytes: () => Promise.resolve(2 ** 20) }
  })
  const before = hub.storeBytes
  const full = await failure(small.ensure(names))
  expect({ code: full.code, hint: full.hint }).toEqual({
    code: 'UNAVAILABLE',
    hint: expect.stringContaining('PETALS_HOME') as string
  })
  const held = await openRemote(hub.repo, remoteOptions(folder, hub, { diskBytes: 400_000 }))
  const spent = await failure(held.ensure(names))
  expect({ code: spent.code, hint: spent.hint, retryable: spent.retryable }).toEqual({
    code: 'UNAVAILABLE',
    hint: expect.stringContaining('--disk') as string,
    retryable: false
  })
  expect(spent.message).toContain('of the 390.6 KiB that they may')
  await held.ensure(blockTensorNames(held.tensors, 0, 1))
  expect(hub.storeBytes - before).toBeLessThan(400_000)
})

test('a file that is small enough to have no SHA-256 on the hub is fetched whole', async () => {
  await using folder = await tempFolder()
  // Named so that the test's hub takes it for a small file.
  const tiny = { ...FOLDER }
  const claims = Object.fromEntries(
    Object.keys(tiny)
      .filter((name) => name.endsWith('.safetensors'))
      .map((name) => [name, { isSmall: true }])
  )
  await using hub = await hubRepo({ files: tiny, claims })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  expectAll(model)
  expect(existsSync(`${model.location.paths[1]}.chunks`)).toBe(false)
})
