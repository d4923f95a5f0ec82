// Downloads against servers that break off, lie, stall and refuse.
import { expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { downloadFile, type DownloadOptions } from '../../../src/model/hub/download.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { hubServer, serve } from '../../support/models/hub-server.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const SIZE = 700_000
const random = seededRandom(3)
const FILE = Uint8Array.from({ length: SIZE }, () => random.below(256))
const SHA256 = new Bun.CryptoHasher('sha256').update(FILE).digest('hex')

interface Download {
  url: string
  folder: string
  path: string
  run(change?: Partial<DownloadOptions>): Promise<void>
}

function downloadFrom(server: { url: string }, folder: { path: string }): Download {
  const path = join(folder.path, 'deep', 'model.bin')
  const url = `${server.url}/model.bin`
  const base = { url, path, hash: SHA256, sizeBytes: SIZE, backoffsMs: [0, 0, 0] }
  return {
    url,
    folder: join(folder.path, 'deep'),
    path,
    run: (change) => downloadFile({ ...base, ...change })
  }
}

/** The file is there, and nothing beside it. */
function expectWhole({ folder, path }: Download): void {
  expect(readdirSync(folder)).toEqual(['model.bin'])
  expect(Buffer.from(FILE).equals(readFileSync(path))).toBe(true)
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'nothing was thrown'
  } catch (error) {
    return error instanceof AppError ? error.code : String(error)
  }
}

test('a download is verified, renamed, and tells how far it is', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const download = downloadFrom(server, folder)
  const progress: number[] = []
  await download.run({
    onprogress: ({ doneBytes, totalBytes }) => {
      expect(totalBytes).toBe(SIZE)
      progress.push(doneBytes)
    }
  })
  expectWhole(download)
  expect(progress).toEqual(progress.toSorted((a, b) => a - b))
  expect(progress.at(-1)).toBe(SIZE)
})

test('a connection that drops again and again is resumed where it broke off', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request, index) => ({
    ...serve(FILE, request),
    ...(index < 4 ? { stallAfter: 100_000 } : {})
  }))
  const download = downloadFrom(server, folder)
  await download.run({
    onprogress: ({ doneBytes }) => doneBytes < 500_000 && doneBytes % 100_000 === 0 && server.drop()
  })
  expectWhole(download)
  expect(server.requests.map(({ headers }) => headers['range'])).toEqual([
    undefined,
    'bytes=100000-',
    'bytes=200000-',
    'bytes=300000-',
    'bytes=400000-'
  ])
  expect(server.requests.slice(1).every(({ headers }) => headers['if-range'] === '"v1"')).toBe(true)
})

test('a body that ends early without a length is resumed too', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request, index) => ({
    ...serve(FILE, request),
    ...(index === 0 ? { dropAfter: 300_000, contentLength: null } : {})
  }))
  const download = downloadFrom(server, folder)
  await download.run()
  expectWhole(download)
  expect(server.requests[1]?.headers['range']).toBe('bytes=300000-')
})

test('a server that knows no ranges is asked for the whole again', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((_, index) => ({
    status: 200,
    body: FILE,
    ...(index < 2 ? { dropAfter: 200_000 } : {})
  }))
  const download = downloadFrom(server, folder)
  await download.run()
  expectWhole(download)
  expect(server.requests.length).toBe(3)
})

test('what an earlier process left is resumed', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', FILE.subarray(0, 650_000))
  await download.run()
  expectWhole(download)
  expect(server.requests.map(({ headers }) => headers['range'])).toEqual(['bytes=650000-'])
})

test('what is there already whole is verified without asking', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', FILE)
  await download.run()
  expectWhole(download)
  expect(server.requests).toEqual([])
})

test('a beginning of other bytes is found out at the end, and the file fetched anew', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', new Uint8Array(650_000))
  await download.run()
  expectWhole(download)
  expect(server.requests.length).toBe(2)
})

test('a beginning that is longer than the file is thrown away', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', new Uint8Array(SIZE + 1))
  await download.run()
  expectWhole(download)
})

test('a file that changed on the server is not mixed with its old beginning', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request, '"v2"'))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', new Uint8Array(1000))
  await folder.write('deep/model.bin.partial.etag', '"v1"')
  await download.run()
  expectWhole(download)
  expect(server.requests.length).toBe(1)
})

for (const [status, code] of [
  [401, 'DENIED'],
  [403, 'DENIED'],
  [404, 'NOT_FOUND'],
  [400, 'UNAVAILABLE']
] as const) {
  test(`an answer of ${status} is ${code}, and is not asked for twice`, async () => {
    await using folder = await tempFolder()
    await using server = await hubServer(() => ({ status }))
    const download = downloadFrom(server, folder)
    const error = (await download.run().catch((thrown: unknown) => thrown)) as AppError
    expect({ code: error.code, tries: server.requests.length }).toEqual({ code, tries: 1 })
    if (code === 'DENIED') expect(error.hint).toContain('HF_TOKEN')
  })
}

test('a server that fails a few times is tried again', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request, index) =>
    index < 3 ? { status: 500 + index } : serve(FILE, request)
  )
  const download = downloadFrom(server, folder)
  await download.run()
  expectWhole(download)
})

test('a server that always fails is given up after the backoffs', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer(() => ({ status: 500 }))
  expect(await codeOf(downloadFrom(server, folder).run())).toBe('UNAVAILABLE')
  expect(server.requests.length).toBe(4)
})

for (const form of ['seconds', 'a date'] as const) {
  test(`429 is waited out for as long as the server says, in ${form}`, async () => {
    await using folder = await tempFolder()
    const clock = new FakeClock()
    const date = new Date(clock.wall() + 7000).toUTCString()
    await using server = await hubServer((request, index) =>
      index === 0
        ? { status: 429, headers: { 'retry-after': form === 'seconds' ? '7' : date } }
        : serve(FILE, request)
    )
    const download = downloadFrom(server, folder)
    const done = download.run({ clock })
    while (clock.nextMs !== 7000) await settle()
    await clock.advance(6999)
    expect(server.requests.length).toBe(1)
    await clock.advance(1)
    await done
    expectWhole(download)
  })
}

test('429 for an hour is told to the user and not waited for', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer(() => ({ status: 429, headers: { 'retry-after': '3600' } }))
  const error = await downloadFrom(server, folder)
    .run()
    .catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'BUSY', retryAfterMs: 3_600_000 })
})

test('other bytes of the same length are refused, and nothing of them is left', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer(() => ({ status: 200, body: new Uint8Array(SIZE) }))
  const download = downloadFrom(server, folder)
  expect(await codeOf(download.run())).toBe('CORRUPT')
  expect({ left: readdirSync(download.folder), tries: server.requests.length }).toEqual({
    left: [],
    tries: 1
  })
})

test('a server that always resumes with other bytes is found out', async () => {
  await using folder = await tempFolder()
  const wrong = new Uint8Array(SIZE)
  await using server = await hubServer((request) => ({
    ...serve(wrong, request),
    stallAfter: 200_000
  }))
  const download = downloadFrom(server, folder)
  const run = download.run({
    onprogress: ({ doneBytes }) => doneBytes % 200_000 === 0 && server.drop()
  })
  expect(await codeOf(run)).toBe('CORRUPT')
  expect(readdirSync(download.folder)).toEqual([])
})

test('a file of another length is refused before its body is read', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer(() => ({
    status: 200,
    body: new Uint8Array(10),
    contentLength: 2 ** 40,
    stallAfter: 10
  }))
  expect(await codeOf(downloadFrom(server, folder).run())).toBe('CORRUPT')
})

test('a body without an end is cut at the promised length', async () => {
  await using folder = await tempFolder()
  const body = new Uint8Array(SIZE * 3)
  await using server = await hubServer(() => ({ status: 200, body, contentLength: null }))
  const download = downloadFrom(server, folder)
  expect(await codeOf(download.run())).toBe('CORRUPT')
  expect(readdirSync(download.folder)).toEqual([])
})

test('a range that was not asked for is refused', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => ({
    ...serve(FILE, request),
    headers: { 'content-range': `bytes 5-${SIZE - 1}/${SIZE}` }
  }))
  const download = downloadFrom(server, folder)
  await folder.write('deep/model.bin.partial', FILE.subarray(0, 1000))
  expect(await codeOf(download.run())).toBe('CORRUPT')
})

test('a body that falls silent is given up and resumed', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request, index) => ({
    ...serve(FILE, request),
    ...(index === 0 ? { stallAfter: 50_000 } : {})
  }))
  const download = downloadFrom(server, folder)
  await download.run({ idleTimeoutMs: 1000 })
  expectWhole(download)
  expect(server.requests[1]?.headers['range']).toBe('bytes=50000-')
})

test('a server that never answers is given up', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer(() => new Promise<never>(() => {}))
  const code = await codeOf(
    downloadFrom(server, folder).run({ answerTimeoutMs: 500, backoffsMs: [0] })
  )
  expect({ code, tries: server.requests.length }).toEqual({ code: 'UNAVAILABLE', tries: 2 })
})

test('an impatient download asks a server that is not there once', async () => {
  await using folder = await tempFolder()
  let tries = 0
  const fetch = (): Promise<Response> => {
    tries++
    return Promise.reject(new Error('Unable to connect'))
  }
  const download = downloadFrom({ url: 'http://127.0.0.1:1' }, folder)
  expect(await codeOf(download.run({ fetch, impatient: true }))).toBe('UNAVAILABLE')
  expect(tries).toBe(1)
})

test('an abort stops the download, and what came is kept for the next time', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request, index) => ({
    ...serve(FILE, request),
    ...(index === 0 ? { stallAfter: 200_000 } : {})
  }))
  const download = downloadFrom(server, folder)
  const abort = new AbortController()
  const run = download.run({
    signal: abort.signal,
    onprogress: ({ doneBytes }) => {
      if (doneBytes === 200_000) abort.abort()
    }
  })
  expect(await codeOf(run)).toBe('CANCELLED')
  expect(existsSync(download.path)).toBe(false)
  await download.run()
  expectWhole(download)
  expect(server.requests[1]?.headers['range']).toBe('bytes=200000-')
})

test('an abort ends the waiting between two tries', async () => {
  await using folder = await tempFolder()
  const clock = new FakeClock()
  await using server = await hubServer(() => ({ status: 500 }))
  const abort = new AbortController()
  const code = codeOf(
    downloadFrom(server, folder).run({ clock, signal: abort.signal, backoffsMs: [5000] })
  )
  while (clock.nextMs !== 5000) await settle()
  abort.abort()
  expect(await code).toBe('CANCELLED')
})

test('a disk without room is noticed before anything is fetched', async () => {
  await using folder = await tempFolder()
  await using server = await hubServer((request) => serve(FILE, request))
  const error = await downloadFrom(server, folder)
    .run({ freeBytes: () => Promise.resolve(SIZE) })
    .catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'UNAVAILABLE', hint: expect.stringContaining('PETALS_HOME') })
  expect(server.requests).toEqual([])
})

test('a token is given to the hub and not to where it redirects', async () => {
  await using folder = await tempFolder()
  await using store = await hubServer((request) => serve(FILE, request))
  await using server = await hubServer(() => ({
    status: 302,
    headers: { location: store.url.replace('127.0.0.1', 'localhost') }
  }))
  const download = downloadFrom(server, folder)
  await download.run({ headers: { authorization: 'Bearer secret' } })
  expectWhole(download)
  expect(server.requests[0]?.headers['authorization']).toBe('Bearer secret')
  expect(store.requests[0]?.headers['authorization']).toBeUndefined()
})
