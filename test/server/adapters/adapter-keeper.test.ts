// The adapters of a span: what a hostile peer gives is refused before memory is taken for it, and
// memory stays bounded.
import { describe, expect, test } from 'bun:test'
import { silentLog } from '../../../src/base/log.ts'
import { adapterNumbers } from '../../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { AdapterKeeper } from '../../../src/server/adapters/adapter-keeper.ts'
import {
  AdapterPack,
  hashOf,
  packSource,
  type AdapterSource
} from '../../../src/weights/adapters/adapter-pack.ts'
import { adapterCodec } from '../../../src/wire/codec/adapter.ts'
import { encodeMessage } from '../../../src/wire/codec/encode.ts'
import type { AdapterManifest } from '../../../src/wire/types.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { Numbers } from '../../kernels/support/world.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'

const MODEL = new Uint8Array(32).fill(1)
const SPAN = { start: 1, end: 2 }
const { config } = await openModel(readFixture('llama3').location)
const of = { config, contentId: MODEL }
const SHAPE = { rank: 2, scale: 2, targets: ['self_attn.q_proj'] }

function packOf(seed: number, shape = SHAPE): AdapterPack {
  const count = adapterNumbers(config, shape, { start: 0, end: config.blockCount })
  return new AdapterPack({ lora: { shape, values: new Numbers(seed).floats(count) } }, of)
}

/** As the engine holds one block of such an adapter: the rank is filled up to 16. */
const SIZE = adapterNumbers(config, { ...SHAPE, rank: 16 }, SPAN) * 4

function setUp(limitBytes = 4 * SIZE): {
  keeper: AdapterKeeper
  compute: FakeCompute
  clock: FakeClock
  forgotten: string[]
} {
  const compute = new FakeCompute(config.hiddenSize)
  const clock = new FakeClock()
  const forgotten: string[] = []
  const keeper = new AdapterKeeper({
    compute,
    span: { ...compute.span(SPAN.start, SPAN.end), adapts: true },
    config,
    model: MODEL,
    limitBytes,
    forget: async (name) => void forgotten.push(name),
    clock,
    log: silentLog
  })
  return { keeper, compute, clock, forgotten }
}

const one = (pack: AdapterPack, weight = 1) => [{ id: pack.id, weight }]

/** A giver of one adapter, and the parts that it was asked for. */
function countingSource(): { pack: AdapterPack; asked: number[]; counting: AdapterSource } {
  const pack = packOf(1)
  const asked: number[] = []
  const source = packSource(() => pack)
  const counting: AdapterSource = {
    ...source,
    part: (id, place) => {
      asked.push(place.index)
      return source.part(id, place)
    }
  }
  return { pack, asked, counting }
}

describe('an adapter', () => {
  test('is asked for once, part by part of its own blocks', async () => {
    const { keeper, compute } = setUp()
    const { pack, asked, counting } = countingSource()
    const [held] = await Promise.all([
      keeper.take(one(pack, 0.5), counting),
      keeper.take(one(pack), counting)
    ])
    expect(asked).toEqual([1])
    expect(held.adapters.map(({ weight }) => weight)).toEqual([0.5])
    const [values] = [...compute.adapters.values()].map(({ lora }) => lora?.values)
    const all = new Numbers(1).floats(adapterNumbers(config, SHAPE, { start: 0, end: 2 }))
    expect(values).toEqual(all.slice(all.length / 2))
    expect(keeper.all).toEqual([{ name: pack.name, sizeBytes: SIZE, sessions: 2, isOwn: false }])
  })

  test('stays while a session runs with it, and goes when another needs the room', async () => {
    const { keeper, compute, forgotten, clock } = setUp(2 * SIZE)
    const packs = [1, 2, 3].map((seed) => packOf(seed))
    const source = packSource((id) => packs.find(({ name }) => name === id))
    const [a, b, c] = packs as [AdapterPack, AdapterPack, AdapterPack]
    const first = await keeper.take(one(a), source)
    const second = await keeper.take(one(b), source)
    await expect(keeper.take(one(c), source)).rejects.toMatchObject({
      code: 'NO_MEMORY',
      retryable: true
    })
    second.release()
    first.release()
    await clock.advance(5)
    // The first was used last.
    ;(await keeper.take(one(a), source)).release()
    await keeper.take(one(c), source)
    expect(forgotten).toEqual([b.name])
    expect(keeper.all.map(({ name }) => name)).toEqual([a.name, c.name])
    expect(compute.adapters.size).toBe(2)
    expect(keeper.usedBytes).toBe(2 * SIZE)
  })

  test('that is for everybody is never dropped, and only it is announced', async () => {
    const { keeper } = setUp(SIZE)
    const [own, other] = [packOf(1), packOf(2)]
    await keeper.preload(
      own.name,
      packSource(() => own)
    )
    await expect(
      keeper.take(
        one(other),
        packSource(() => other)
      )
    ).rejects.toMatchObject({ code: 'NO_MEMORY' })
    expect(keeper.announced).toEqual([own.id.slice(0, 8)])
  })
})

/** Hashes of as many parts as the model has blocks, and more. */
function hashes(more: number): Uint8Array[] {
  return Array.from({ length: config.blockCount + more }, () => new Uint8Array(32))
}

/** A source that gives a manifest by whatever id it is asked, and garbage for parts. */
function lying(
  manifest: Partial<AdapterManifest>,
  part?: Uint8Array
): {
  source: AdapterSource
  id: Uint8Array
  asked: number[]
} {
  const bytes = encodeMessage(adapterCodec, { ...packOf(1).manifest, ...manifest })
  const asked: number[] = []
  const source: AdapterSource = {
    manifest: async () => bytes,
    async part(_, { index, sizeBytes }) {
      asked.push(index)
      return part ?? new Uint8Array(sizeBytes)
    }
  }
  return { source, id: hashOf(bytes), asked }
}

describe('refused is', () => {
  test.each<[string, Partial<AdapterManifest>, string]>([
    ['an adapter of another model', { model: new Uint8Array(32).fill(9) }, 'another model'],
    ['one with other blocks', { parts: [new Uint8Array(32)] }, 'another number of blocks'],
    ['a rank without bounds', { shape: { ...SHAPE, rank: 2 ** 40 } }, 'rank'],
    ['a target that blocks lack', { shape: { ...SHAPE, targets: ['lm_head'] } }, 'lm_head'],
    ['a prompt as long as the context', { positions: 4096, deep: true, parts: hashes(1) }, 'prompt']
  ])('%s, before any part is asked for', async (_, manifest, why) => {
    const { keeper, compute } = setUp()
    const { source, id, asked } = lying(manifest)
    await expect(keeper.take([{ id, weight: 1 }], source)).rejects.toThrow(why)
    expect({ asked, loaded: compute.adapters.size, used: keeper.usedBytes }).toEqual({
      asked: [],
      loaded: 0,
      used: 0
    })
  })

  test('what is larger than all the memory for adapters, before any part is asked for', async () => {
    const { keeper } = setUp(SIZE - 1)
    const { pack, asked, counting } = countingSource()
    await expect(keeper.take(one(pack), counting)).rejects.toMatchObject({
      code: 'NO_MEMORY',
      retryable: false
    })
    expect(asked).toEqual([])
  })

  test('another adapter than was asked for, another part, and values that are no numbers', async () => {
    const { keeper, compute } = setUp()
    const { source, id } = lying({})
    await expect(keeper.take([{ id: new Uint8Array(32), weight: 1 }], source)).rejects.toThrow(
      'not the one'
    )
    await expect(keeper.take([{ id, weight: 1 }], source)).rejects.toThrow('its part of block 1')
    const size = packOf(1).part(1).byteLength
    const bad = new Uint8Array(new Float32Array(size / 4).fill(NaN).buffer)
    const nan = lying({ parts: packOf(1).manifest.parts.map(() => hashOf(bad)) }, bad)
    await expect(keeper.take([{ id: nan.id, weight: 1 }], nan.source)).rejects.toThrow('no numbers')
    expect(compute.adapters.size).toBe(0)
  })

  test('the same adapter twice in a session', async () => {
    const { keeper } = setUp()
    const pack = packOf(1)
    const source = packSource(() => pack)
    await expect(keeper.take([...one(pack), ...one(pack)], source)).rejects.toThrow('twice')
  })

  test('a fifth adapter while four are on their way, until one is given up as too slow', async () => {
    const { keeper, clock } = setUp()
    const silent: AdapterSource = {
      manifest: (_, signal) =>
        new Promise((__, reject) =>
          signal?.addEventListener('abort', () => reject(new Error('stopped')))
        ),
      part: () => new Promise(() => {})
    }
    const waiting = [1, 2, 3, 4].map((seed) => keeper.take(one(packOf(seed)), silent))
    const pack = packOf(5)
    const source = packSource(() => pack)
    await expect(keeper.take(one(pack), source)).rejects.toMatchObject({ code: 'BUSY' })
    const settled = Promise.allSettled(waiting)
    await clock.advance(60_000)
    expect((await settled).map(({ status }) => status)).toEqual(waiting.map(() => 'rejected'))
    expect((await keeper.take(one(pack), source)).names).toEqual([pack.name])
  })
})
