// Peers that lie about weights over a loopback swarm, or may not have them: what they achieve with
// the hub there, and with it shut off.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import { unverifiedPath } from '../../src/model/store/chunk-map.ts'
import { manifestOf, manifestRoot } from '../../src/model/store/manifest.ts'
import { blockTensorNames } from '../../src/model/needed-tensors.ts'
import { createSwarm, issueInvite } from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import {
  CHUNK,
  failure,
  storiesFolderFiles,
  storiesGgufBytes
} from '../support/models/remote-model.ts'
import { tempFolder } from '../support/temp-folder.ts'
import {
  allOf,
  expectTensors,
  NOWHERE,
  openFrom,
  WeightWorld,
  type Spoil
} from '../support/weight-world.ts'
import { until } from '../swarm/world.ts'

// Several nodes find each other in each test, on machines with two busy cores.
setDefaultTimeout(60_000)

const GGUF = await storiesGgufBytes()
const FOLDER = await storiesFolderFiles(2)

const wrongBytes: Spoil = (want, give) => {
  if (want.what !== 3 || give.data.byteLength === 0) return give
  const data = give.data.slice()
  data[0]! ^= 1
  return { ...give, data }
}

test('who gives a wrong chunk is dropped, and the file is whole all the same', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  const spoiler = await world.peer({ spoil: wrongBytes })
  const honest = await world.peer()
  for (const peer of [spoiler, honest]) {
    await world.give(peer, a, { path: join(folder.path, 'a') })
  }
  await hub[Symbol.asyncDispose]()
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  const dropped = `no weights are taken from ${spoiler.node.peer.slice(0, 8)} any more`
  expect(taker.told.filter((text) => text.startsWith(dropped)).length).toBe(1)
})

/** Claims other hashes for chunks from the twentieth on, and gives bytes that fit them. */
const otherWeights: Spoil = (want, give) => {
  const isBytes = want.what === 3 && want.start >= 20 * 4096
  if (isBytes && give.data.byteLength > 0)
    return { ...give, data: new Uint8Array(give.data.length) }
  if (want.what !== 2) return give
  const data = give.data.slice()
  for (let i = 0; i * 32 < data.byteLength; i++) {
    if (want.start + i < 20) continue
    const size = Math.min(4096, GGUF.byteLength - (want.start + i) * 4096)
    const hash = new Bun.CryptoHasher('sha256').update(new Uint8Array(size)).digest()
    data.set(hash, i * 32)
  }
  return { ...give, data }
}

test('peers who contradict each other are not believed while the hub is silent, and are once it answers', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const files = { 'stories.gguf': GGUF }
  const hub = await hubRepo({ files })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  const liar = await world.peer({ spoil: otherWeights })
  for (const peer of [liar, await world.peer()]) {
    await world.give(peer, a, { path: join(folder.path, 'a') })
  }
  await hub[Symbol.asyncDispose]()
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  const error = await failure(model.ensure(allOf(model)))
  expect({ code: error.code, message: error.message }).toEqual({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(
      /contradict each other about \d+ chunks: .* with root [0-9a-f]{64} against .* with root /
    ) as string
  })
  await using back = await hubRepo({ files })
  const { model: later } = await openFrom(
    hub.repo,
    { path: join(folder.path, 'b') },
    back,
    taker.asking
  )
  await later.ensure(allOf(later))
  expectTensors(later, allOf(later))
  expect(taker.told.join('\n')).toContain(`${liar.node.peer.slice(0, 8)} any more: it gave hashes`)
})

test('a manifest that the user names decides between peers, and its chunks are vouched for', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const where = { path: join(folder.path, 'a') }
  const a = await openFrom(hub.repo, where, hub)
  await a.model.ensure(allOf(a.model))
  for (const peer of [await world.peer({ spoil: otherWeights }), await world.peer()]) {
    await world.give(peer, a, where)
  }
  await hub[Symbol.asyncDispose]()
  const sha256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
  const file = { path: a.model.location.paths[0]!, sha256, sizeBytes: GGUF.byteLength }
  const manifest = await manifestOf(file, {
    cacheDir: join(where.path, 'cache'),
    chunkBytes: CHUNK
  })
  const taker = await world.peer()
  const to = { path: join(folder.path, 'b') }
  const named = { ...taker.asking, roots: [toHex(manifestRoot(manifest))] }
  const { model } = await openFrom(hub.repo, to, hub, named)
  const names = blockTensorNames(model.tensors, 0, 2)
  await model.ensure(names)
  expectTensors(model, names)
  expect(await Bun.file(unverifiedPath(model.location.paths[0]!)).exists()).toBe(false)
  const other = { ...taker.asking, roots: ['ab'.repeat(32)] }
  const error = await failure(openFrom(hub.repo, { path: join(folder.path, 'c') }, hub, other))
  expect(error.message).toContain('no peer has the manifest that was named')
})

test('a peer that lies alone is found out when the file is whole, and the hub gives what it spoilt', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const a = await openFrom(hub.repo, { path: join(folder.path, 'a') }, hub)
  await a.model.ensure(allOf(a.model))
  // One chunk of 280: a sample seldom finds it.
  const oneChunk: Spoil = (want, give) => {
    const at = 200 * 4096
    if (want.what === 3 && want.start === at)
      return { ...give, data: new Uint8Array(give.data.length) }
    if (want.what !== 2 || want.start > 200 || want.start + want.count <= 200) return give
    const data = give.data.slice()
    const hash = new Bun.CryptoHasher('sha256').update(new Uint8Array(4096)).digest()
    data.set(hash, (200 - want.start) * 32)
    return { ...give, data }
  }
  const liar = await world.peer({ spoil: oneChunk })
  await world.give(liar, a, { path: join(folder.path, 'a') })
  const taker = await world.peer()
  const { model } = await openFrom(hub.repo, { path: join(folder.path, 'b') }, hub, taker.asking)
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
  expect(taker.told).toEqual([
    `no weights are taken from ${liar.node.peer.slice(0, 8)} any more: ` +
      'it gave weights, some of which are not those of the file',
    expect.stringContaining('peers gave wrong bytes of it: it is fetched from the hub') as string
  ])
})

test('servers that call different models by one name are all named, and none is taken', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const ids: string[] = []
  for (const files of [{ 'stories.gguf': GGUF }, FOLDER]) {
    await using hub = await hubRepo({ files })
    const where = { path: join(folder.path, String(ids.length)) }
    const found = await openFrom(hub.repo, where, hub)
    await found.model.ensure(allOf(found.model))
    await world.give(await world.peer(), found, where)
    ids.push(toHex(found.model.contentId))
  }
  const { peers } = (await world.peer()).exchange
  const where = { path: join(folder.path, 'c') }
  const error = await failure(openFrom('some/model', where, NOWHERE, { peers }))
  expect(error.code).toBe('CORRUPT')
  for (const id of ids) expect(error.message).toContain(`${id} (1)`)
  const { model } = await openFrom(ids[1]!, where, NOWHERE, { peers })
  expect(toHex(model.contentId)).toBe(ids[1]!)
})

test('a catalogue that does not make the model it claims is refused', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const where = { path: join(folder.path, 'a') }
  const a = await openFrom(hub.repo, where, hub)
  await a.model.ensure(allOf(a.model))
  const claimed = 'ab'.repeat(32)
  const spoil: Spoil = (want, give) => {
    if (want.what !== 0) return give
    const data = give.data.slice()
    data.set(Uint8Array.fromHex(claimed), 1)
    return { ...give, data }
  }
  await world.give(await world.peer({ spoil }), a, where)
  await hub[Symbol.asyncDispose]()
  const { peers } = (await world.peer()).exchange
  const error = await failure(
    openFrom('some/model', { path: join(folder.path, 'b') }, hub, { peers })
  )
  expect({ code: error.code, message: error.message }).toEqual({
    code: 'CORRUPT',
    message: expect.stringContaining(`not ${claimed}`) as string
  })
})

test('a private swarm gives to members alone', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const where = { path: join(folder.path, 'a') }
  const a = await openFrom(hub.repo, where, hub)
  await a.model.ensure(allOf(a.model))
  const root = createSwarm()
  const member = (): Membership => new Membership(issueInvite(root, {}))
  const giver = await world.peer({ membership: member() })
  await world.give(giver, a, where)
  await hub[Symbol.asyncDispose]()
  const stranger = await world.peer()
  const refused = await failure(
    openFrom('some/model', { path: join(folder.path, 'b') }, hub, stranger.asking)
  )
  expect(refused.code).toBe('UNAVAILABLE')
  const link = await stranger.node.connect(giver.node.key)
  link.want({ request: 1, what: 0, name: 'some/model', start: 0, count: 0 })
  await until(() => link.closed)
  const elsewhere = new Membership(issueInvite(root, { models: ['other/model'] }))
  const restricted = await world.peer({ membership: elsewhere })
  const denied = await failure(
    openFrom('some/model', { path: join(folder.path, 'd') }, hub, restricted.asking)
  )
  expect(denied.code).toBe('UNAVAILABLE')
  expect(giver.exchange.givenBytes).toBe(0)
  const other = await world.peer({ membership: member() })
  const { model } = await openFrom('some/model', { path: join(folder.path, 'c') }, hub, {
    ...other.asking
  })
  await model.ensure(allOf(model))
  expectTensors(model, allOf(model))
})

test('in a private swarm weights come only from members that may serve that model', async () => {
  await using world = await WeightWorld.start()
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const root = createSwarm()
  const giver = async (name: string, models: string[]): Promise<string> => {
    const where = { path: join(folder.path, name) }
    const found = await openFrom(hub.repo, where, hub)
    await found.model.ensure(allOf(found.model))
    const membership = new Membership(issueInvite(root, { may: ['serve'], models }))
    const peer = await world.peer({ membership })
    await world.give(peer, found, where)
    return toHex(found.model.contentId)
  }
  const id = await giver('other', ['other/model'])
  const taker = await world.peer({ membership: new Membership(issueInvite(root)) })
  const { peers } = taker.asking
  const named = [await peers?.lookUp('some/model'), await peers?.lookUp(id)]
  await giver('named', ['some/model'])
  await giver('by id', [id])
  await hub[Symbol.asyncDispose]()
  const later = await world.peer({ membership: new Membership(issueInvite(root)) })
  const found = await later.asking.peers?.lookUp('some/model')
  expect([named, found?.id, found?.vouchers]).toEqual([[undefined, undefined], id, 2])
})
