// What a server gives of weights, to whom, how fast, and that it is nothing but its model's files.
import { describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import { silentLog } from '../../src/base/log.ts'
import { identifyModel } from '../../src/model/store/identify.ts'
import { blockTensorNames } from '../../src/model/needed-tensors.ts'
import { openModel } from '../../src/model/open-model.ts'
import { OfferedWeights } from '../../src/weights/offered-weights.ts'
import { UploadBudget } from '../../src/weights/upload-budget.ts'
import { WeightServer, type WeightSource, type WantLink } from '../../src/weights/weight-server.ts'
import { LIMITS } from '../../src/wire/protocol.ts'
import { WANTS, type Give } from '../../src/wire/types.ts'
import { FakeClock, settle } from '../support/fakes/fake-clock.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import {
  CHUNK,
  failure,
  openRemote,
  remoteOptions,
  storiesGgufBytes
} from '../support/models/remote-model.ts'
import { tempFolder } from '../support/temp-folder.ts'

const MIB = 2 ** 20
const GGUF = await storiesGgufBytes()
const NAME = 'f'.repeat(64)

const none = (): never => {
  throw new Error('It was not to be asked')
}

/** A source with one file of zeros. */
const zeros: WeightSource = {
  catalogue: { model: new Uint8Array(32), kind: 'gguf', small: [], weights: [] },
  words: ['a/b'],
  holding: none,
  hashes: none,
  bytes: async (_, __, count) => new Uint8Array(count)
}

interface FakeLink extends WantLink {
  closed: boolean
  queuedBytes: number
  readonly given: Give[]
  readonly bytes: number
}

function fakeLink(): FakeLink {
  const given: Give[] = []
  return {
    closed: false,
    queuedBytes: 0,
    given,
    get bytes() {
      return given.reduce((sum, { data }) => sum + data.byteLength, 0)
    },
    give(message) {
      given.push(message)
      return true
    },
    drained: () => Promise.resolve()
  }
}

function setUp(more: { limit?: number; steps?: () => number; whyNot?: () => string } = {}): {
  clock: FakeClock
  server: WeightServer
} {
  const clock = new FakeClock()
  const { limit = Infinity, steps = () => 0, whyNot } = more
  const server = new WeightServer({
    source: zeros,
    budget: new UploadBudget(limit, clock),
    stepsUnderWay: steps,
    whyNot,
    clock,
    log: silentLog
  })
  return { clock, server }
}

const want = (
  request: number,
  what: (typeof WANTS)[number],
  count = 0
): Parameters<WeightServer['onwant']>[1] => ({
  request,
  what: WANTS.indexOf(what),
  name: NAME,
  start: 0,
  count
})

describe('WeightServer', () => {
  test('gives no more than its limit, to all links together', async () => {
    const { clock, server } = setUp({ limit: MIB })
    const links = [fakeLink(), fakeLink()]
    for (const [i, link] of links.entries()) {
      for (let request = 0; request < 4; request++) {
        server.onwant(link, want(10 * i + request, 'bytes', MIB))
      }
    }
    const sum = (): number => links.reduce((total, link) => total + link.bytes, 0)
    await settle()
    await clock.advance(0)
    // What a second may hold is there at once; then a second's worth each second.
    expect(sum()).toBeLessThanOrEqual(MIB)
    for (let second = 1; second <= 6; second++) {
      await clock.advance(1000)
      expect(sum()).toBeLessThanOrEqual((second + 1) * MIB)
      expect(sum()).toBeGreaterThanOrEqual(second * MIB)
    }
    await clock.advance(10_000)
    expect(sum()).toBe(8 * MIB)
    await server.close()
  })

  test('serves links in turns', async () => {
    const { server } = setUp()
    const order: string[] = []
    const [a, b] = [fakeLink(), fakeLink()]
    a.give = ({ left }) => order.push(left === 0 ? 'a' : '') > 0
    b.give = ({ left }) => order.push(left === 0 ? 'b' : '') > 0
    for (let request = 0; request < 3; request++) server.onwant(a, want(request, 'bytes', 10))
    for (let request = 0; request < 3; request++) server.onwant(b, want(request, 'bytes', 10))
    await settle()
    await settle()
    await server.close()
    expect(order.join('')).toMatch(/^a+(ba)+b*$/)
  })

  test('gives in pieces that count down, none over the limit', async () => {
    const { server } = setUp()
    const link = fakeLink()
    server.onwant(link, want(7, 'bytes', 150_000))
    while (link.bytes < 150_000) await settle()
    expect(link.given.map(({ request, left, data }) => [request, left, data.byteLength])).toEqual([
      [7, 150_000 - 65_536, 65_536],
      [7, 150_000 - 2 * 65_536, 65_536],
      [7, 0, 150_000 - 2 * 65_536]
    ])
    await server.close()
  })

  test('lets steps go first, and still gives', async () => {
    const { clock, server } = setUp({ steps: () => 3 })
    const link = fakeLink()
    server.onwant(link, want(1, 'bytes', MIB))
    await settle()
    expect(link.bytes).toBe(0)
    await clock.advance(1000)
    expect(link.bytes).toBeGreaterThan(0)
    expect(link.bytes).toBeLessThanOrEqual(10 * LIMITS.giveBytes)
    await server.close()
  })

  test('waits for a link that does not read', async () => {
    const { server } = setUp()
    const link = fakeLink()
    const drained = Promise.withResolvers<void>()
    link.queuedBytes = MIB
    link.drained = () => drained.promise
    server.onwant(link, want(1, 'bytes', 1000))
    await settle()
    expect(link.given).toEqual([])
    link.queuedBytes = 0
    drained.resolve()
    while (link.given.length === 0) await settle()
    await server.close()
  })

  test('holds up nobody for a link that never reads', async () => {
    const { server } = setUp()
    const [stuck, other] = [fakeLink(), fakeLink()]
    stuck.queuedBytes = MIB
    stuck.drained = () => new Promise(() => {})
    server.onwant(stuck, want(1, 'bytes', MIB))
    server.onwant(other, want(2, 'bytes', MIB))
    while (other.bytes < MIB) await settle()
    expect(stuck.bytes).toBe(0)
    await server.close()
  })

  test('refuses what is too much, unknown, or one question too many, with a code', async () => {
    const { server } = setUp()
    const link = fakeLink()
    server.onwant(link, want(1, 'bytes', LIMITS.wantBytes + 1))
    server.onwant(link, want(2, 'hashes', LIMITS.wantHashes + 1))
    server.onwant(link, want(3, 'catalogue'))
    server.onwant(link, { ...want(4, 'bytes', 1), what: 99 })
    while (link.given.length < 4) await settle()
    expect(link.given.map(({ request, refused }) => [request, refused])).toEqual([
      [1, 'LIMIT'],
      [2, 'LIMIT'],
      [3, 'NOT_FOUND'],
      [4, 'NOT_FOUND']
    ])
    const flooding = fakeLink()
    for (let i = 0; i < 100; i++) server.onwant(flooding, want(i, 'bytes', 1))
    const refusals = flooding.given.filter(({ refused }) => refused === 'BUSY')
    expect(refusals.length).toBeGreaterThanOrEqual(100 - LIMITS.wants - 1)
    await server.close()
  })

  test('gives nothing to who is not permitted', async () => {
    const { server } = setUp({ whyNot: () => 'it is no member' })
    const link = fakeLink()
    server.onwant(link, want(1, 'bytes', 1000))
    await settle()
    expect(link.given).toEqual([
      { request: 1, left: 0, data: new Uint8Array(0), refused: 'DENIED' }
    ])
    await server.close()
  })

  test('forgets what a link that is gone asked for', async () => {
    const { clock, server } = setUp({ limit: MIB })
    const link = fakeLink()
    for (let i = 0; i < 16; i++) server.onwant(link, want(i, 'bytes', MIB))
    await clock.advance(1000)
    link.closed = true
    server.onclosed(link)
    const before = link.bytes
    await clock.advance(60_000)
    expect(link.bytes).toBe(before)
    await server.close()
    expect(clock.pending).toBe(0)
  })
})

describe('OfferedWeights', () => {
  test('gives the model and no other file, by hash and not by path', async () => {
    await using folder = await tempFolder()
    const secret = await folder.write('own/secret.txt', 'nobody must read this')
    const path = await folder.write('own/stories.gguf', GGUF)
    const model = await openModel({ kind: 'gguf', paths: [path] })
    const cacheDir = join(folder.path, 'cache')
    await identifyModel(model, { cacheDir })
    const source = await OfferedWeights.open(model, { cacheDir, chunkBytes: CHUNK })
    const sha256 = toHex(source!.catalogue.weights[0]!.sha256)
    const bytes = await source!.bytes(sha256, 100, 1000)
    expect(Buffer.from(bytes).equals(GGUF.subarray(100, 1100))).toBe(true)
    const secretHash = new Bun.CryptoHasher('sha256').update('nobody must read this').digest('hex')
    for (const name of [secretHash, secret, '../secret.txt', 'secret.txt', '', path, '\0']) {
      expect((await failure(source!.bytes(name, 0, 1))).code).toBe('NOT_FOUND')
      expect((await failure(source!.holding(name))).code).toBe('NOT_FOUND')
      expect((await failure(source!.hashes(name, 0, 1))).code).toBe('NOT_FOUND')
    }
    expect((await failure(source!.bytes(sha256, GGUF.byteLength - 1, 2))).code).toBe('LIMIT')
  })

  test('of a part that was fetched it gives that part, and says which', async () => {
    await using folder = await tempFolder()
    await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
    const options = remoteOptions(folder, hub)
    const model = await openRemote(hub.repo, options)
    await model.ensure(blockTensorNames(model.tensors, 2, 3))
    await identifyModel(model, { cacheDir: options.cacheDir })
    const source = await OfferedWeights.open(model, { cacheDir: options.cacheDir })
    const { sha256: hash } = source!.catalogue.weights[0]!
    const sha256 = toHex(hash)
    const { held, vouched, isWhole, root } = await source!.holding(sha256)
    expect({ isWhole, root, same: toHex(held) === toHex(vouched) }).toEqual({
      isWhole: false,
      root: undefined,
      same: true
    })
    const count = Math.ceil(GGUF.byteLength / CHUNK)
    const has = Array.from({ length: count }, (_, i) => (held[i >> 3]! & (1 << (i & 7))) !== 0)
    const [there, hole] = [has.indexOf(true), has.indexOf(false)]
    expect(has[0]).toBe(true)
    expect(hole).toBeGreaterThan(0)
    const bytes = await source!.bytes(sha256, there * CHUNK, CHUNK)
    expect(Buffer.from(bytes).equals(GGUF.subarray(there * CHUNK, (there + 1) * CHUNK))).toBe(true)
    expect((await failure(source!.bytes(sha256, hole * CHUNK, 1))).code).toBe('NOT_FOUND')
    expect((await failure(source!.bytes(sha256, hole * CHUNK - 1, 2))).code).toBe('NOT_FOUND')
    const hashes = await source!.hashes(sha256, 0, count)
    expect(has).toEqual(
      has.map((_, i) => hashes.subarray(i * 32, (i + 1) * 32).some((byte) => byte !== 0))
    )
    expect((await failure(source!.hashes(sha256, count, 1))).code).toBe('LIMIT')
    // What is fetched later is given too.
    await model.ensure(model.tensors.list().map(({ name }) => name))
    expect((await source!.bytes(sha256, hole * CHUNK, 1)).byteLength).toBe(1)
  })
})
