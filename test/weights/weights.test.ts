// Weights from peers over a loopback swarm, with a hub of the real layout that is shut off: who
// starts without it, and who stands in for whom. weight-lies.test.ts has those who lie.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import { heldBytesOf } from '../../src/model/store/cache-usage.ts'
import { journalPath, readUnverified } from '../../src/model/store/chunk-map.ts'
import { blockTensorNames, clientTensorNames } from '../../src/model/needed-tensors.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import { failure, storiesFolderFiles, storiesGgufBytes } from '../support/models/remote-model.ts'
import { testAlias } from '../support/models/test-alias.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { allOf, expectTensors, NOWHERE, openFrom, WeightWorld } from '../support/weight-world.ts'

// Several nodes find each other in each test, on machines with two busy cores.
setDefaultTimeout(60_000)

const GGUF = await storiesGgufBytes()
const FOLDER = await storiesFolderFiles(2)

for (const [kind, files] of [
  ['a GGUF', { 'stories.gguf': GGUF }],
  ['a folder', FOLDER]
] as const) {
  test(`a third server of ${kind} starts from two that hold other parts, without the hub`, async () => {
    await using world = await WeightWorld.start()
    await using folders = await tempFolder()
    const folder = (name: string): { path: string } => ({ path: join(folders.path, name) })
    const hub = await hubRepo({ files })
    const id: string[] = []
    for (const [name, first, last] of [
      ['a', 0, 3],
      ['b', 2, 5]
    ] as const) {
      const found = await openFrom(hub.repo, folder(name), hub)
      await found.model.ensure(blockTensorNames(found.model.tensors, first, last))
      await world.give(await world.peer(), found, folder(name))
      id.push(toHex(found.model.contentId))
    }
    await hub[Symbol.asyncDispose]()
    const peer = await world.peer()
    const found = await openFrom(hub.repo, folder('c'), hub, peer.asking)
    const { model } = found
    const names = blockTensorNames(model.tensors, 1, 4)
    await model.ensure(names)
    expectTensors(model, names)
    expect([...id, toHex(model.contentId)]).toEqual([id[0]!, id[0]!, id[0]!])
    expect(peer.told).toEqual([
      `'some/model' is taken for the model ${id[0]} on the word of 2 servers`
    ])
    expect(model.tokenizer.bosId).toBe(1)
    // What was taken on others' word is given on, but not vouched for.
    const [path = ''] = model.location.paths.slice(-1)
    const isUnverified = readUnverified(path, 64).some((byte) => byte !== 0)
    expect(isUnverified).toBe(true)
    // One more who says what the others said is no third witness.
    await world.give(peer, found, folder('c'))
    const fourth = await world.peer()
    await openFrom(hub.repo, folder('d'), hub, fourth.asking)
    expect(fourth.told).toEqual(peer.told)
    // The next start needs nobody.
    const again = await openFrom(hub.repo, folder('c'), NOWHERE)
    await again.model.ensure(names)
    expectTensors(again.model, names)
  })
}

test('a file on a disk is given too, and its content id is name enough', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const path = await folder.write('own/My Model.gguf', GGUF)
  const own = await openFrom(path, { path: join(folder.path, 'a') }, NOWHERE)
  const giver = await world.peer()
  await world.give(giver, own, { path: join(folder.path, 'a') })
  const taker = await world.peer()
  const id = toHex(own.model.contentId)
  const folderB = { path: join(folder.path, 'b') }
  const { model } = await openFrom(id, folderB, NOWHERE, taker.asking)
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  expect(toHex(model.contentId)).toBe(id)
  const [there = ''] = model.location.paths
  expect(await Bun.file(journalPath(there)).exists()).toBe(false)
  expect(Buffer.from(await Bun.file(there).bytes()).equals(GGUF)).toBe(true)
  const again = await openFrom(id, folderB, NOWHERE)
  expectTensors(again.model, allOf(again.model))
})

test('with the hub there peers give nearly all, and are held to a sample of it', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  await world.give(await world.peer(), a, { path: join(folder.path, 'a') })
  const before = hub.storeBytes
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  let last = { doneBytes: 0, totalBytes: 0, peerBytes: 0 }
  await model.ensure(allOf(model), { onprogress: (progress) => (last = progress) })
  expectTensors(model, allOf(model))
  expect(hub.storeBytes - before).toBeLessThan(GGUF.byteLength / 8)
  expect(last.peerBytes / last.totalBytes).toBeGreaterThan(0.9)
  expect(taker.told).toEqual([])
})

test('the hub goes on where peers that die have stopped', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  let given = 0
  const dying = await world.peer({
    spoil(want, give) {
      if (want.what === 3 && ++given === 40) void dying.node.close()
      return given < 40 ? give : undefined
    }
  })
  await world.give(dying, a, { path: join(folder.path, 'a') })
  const before = hub.storeBytes
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  const byHub = hub.storeBytes - before
  expect(byHub).toBeGreaterThan(GGUF.byteLength / 2)
  expect(byHub).toBeLessThan(GGUF.byteLength - 20 * 4096)
})

test('peers go on where a hub that dies has stopped', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  let requests = 0
  const hub = await hubRepo({
    files: { 'stories.gguf': GGUF },
    // After the header and a part of the sample.
    onstore: (_, reply) => (++requests > limit ? { ...reply, dropAfter: 0 } : reply)
  })
  let limit = Infinity
  await using _ = hub
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  await world.give(await world.peer(), a, { path: join(folder.path, 'a') })
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  limit = requests + 3
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  expect(taker.told).toEqual(['The hub does not answer: weights are taken on the word of one peer'])
})

test('what was fetched from peers before it was stopped is not asked for again', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  const asked: number[] = []
  const stop = new AbortController()
  const giver = await world.peer({
    spoil(want, give) {
      if (want.what === 3) asked.push(want.start)
      if (asked.length === 100) stop.abort()
      return give
    }
  })
  await world.give(giver, a, { path: join(folder.path, 'a') })
  await hub[Symbol.asyncDispose]()
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  const stopped = await failure(model.ensure(allOf(model), { signal: stop.signal }))
  expect(stopped.code).toBe('CANCELLED')
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  const again = asked.length - new Set(asked).size
  // Those that were on their way.
  expect(again).toBeLessThanOrEqual(8)
})

test('a client takes embedding, head and tokenizer from servers', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  await world.give(await world.peer(), a, { path: join(folder.path, 'a') })
  await hub[Symbol.asyncDispose]()
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  await model.ensure(clientTensorNames(model.tensors))
  expectTensors(model, clientTensorNames(model.tensors))
  expect(model.tokenizer.bosId).toBe(1)
  expect(await heldBytesOf(model.location.paths[0]!)).toBeLessThan(GGUF.byteLength / 2)
})

test('a file that is known by its hash comes from peers when hub and pip are silent', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const path = await folder.write('own/stories.gguf', GGUF)
  const where = { path: join(folder.path, 'a') }
  const own = await openFrom(path, where, NOWHERE)
  const giver = await world.peer()
  await giver.exchange.give({
    model: own.model,
    cacheDir: join(where.path, 'cache'),
    words: [],
    stepsUnderWay: () => 0
  })
  const sha256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
  const alias = testAlias(sha256, GGUF.byteLength)
  const taker = await world.peer()
  const { model } = await openFrom('tiny', { path: join(folder.path, 'b') }, NOWHERE, {
    ...taker.asking,
    aliases: [alias],
    pipCommands: []
  })
  expectTensors(model, allOf(model))
})
