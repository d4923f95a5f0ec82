// What a host says of itself in the swarm, and when it says it anew.
import { expect, test } from 'bun:test'
import { openModel } from '../../src/model/open-model.ts'
import { Advertisement } from '../../src/server/advertisement.ts'
import type { Serving } from '../../src/server/serving.ts'
import type { ServerInfo } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'
import { storiesLocation } from '../support/models/stories.ts'

const HIDDEN = 64
const SPAN = { start: 1, end: 3 }
const SELF = new Uint8Array(32).fill(9)
const model = await openModel(storiesLocation)

interface Scene {
  readonly advertisement: Advertisement
  readonly clock: FakeClock
  readonly served: ServerInfo[]
  readonly updates: ServerInfo[]
  freeTokens: number
}

function scene(others: readonly ServerInfo[] = []): Scene {
  const clock = new FakeClock()
  const served: ServerInfo[] = []
  const updates: ServerInfo[] = []
  const advertisement = new Advertisement(SPAN, others, {
    model,
    quant: 'f32',
    fixed: false,
    self: SELF,
    clock,
    serve: async (info) => void served.push(info),
    update: (info) => void updates.push(info),
    freeTokens: () => it.freeTokens
  })
  const it: Scene = { advertisement, clock, served, updates, freeTokens: 500 }
  return it
}

function serving(decode: number): Serving {
  const span = new FakeCompute(HIDDEN).span(SPAN.start, SPAN.end)
  return { span, speed: { decode, prefill: 900 } } as Serving
}

test('while it loads, it says which blocks it will have, at the speed of the middle of the others', async () => {
  const speeds = [800, 100, 300]
  const { advertisement, served } = scene(
    speeds.map((throughput) => ({ throughput }) as ServerInfo)
  )
  await advertisement.loading()
  expect(served).toMatchObject([
    {
      peer: SELF,
      start: 1,
      end: 3,
      draining: true,
      throughput: 300,
      maxTokens: 0,
      next: { start: 1, end: 3, left: true }
    }
  ])
  expect(served[0]?.next?.inMs).toBeGreaterThan(0)
})

test('once it serves, it says its own speed and room, and drains no more', async () => {
  const { advertisement, served } = scene([{ throughput: 5 } as ServerInfo])
  await advertisement.serving(serving(1234))
  expect(served).toMatchObject([
    { throughput: 1234, prefillThroughput: 900, freeTokens: 500, draining: false, maxTokens: 4096 }
  ])
  expect(served[0]?.next).toBeUndefined()
})

test('it publishes anew when its room has changed, and not else; nothing after close()', async () => {
  const it = scene()
  await it.advertisement.serving(serving(10))
  await it.clock.advance(60_000)
  expect(it.updates).toEqual([])
  it.freeTokens = 400
  await it.clock.advance(10_000)
  await it.clock.advance(60_000)
  expect(it.updates.map(({ freeTokens }) => freeTokens)).toEqual([400])
  it.advertisement.close()
  it.freeTokens = 300
  await it.clock.advance(60_000)
  expect([it.updates.length, it.clock.pending]).toEqual([1, 0])
})

test('a move is announced and taken back, and round trips stay through other blocks', async () => {
  const it = scene()
  await it.advertisement.serving(serving(10))
  const pings = [{ peer: new Uint8Array(32).fill(2), ms: 12 }]
  it.advertisement.pings(pings)
  it.advertisement.going({ start: 0, end: 2, inMs: 1000, left: false })
  expect(it.updates.at(-1)).toMatchObject({ draining: true, next: { start: 0, end: 2 }, pings })
  it.advertisement.going(undefined)
  expect(it.updates.at(-1)).toMatchObject({ draining: false, pings })
  expect(it.updates.at(-1)?.next).toBeUndefined()
  await it.advertisement.serving(serving(20))
  expect(it.served.at(-1)).toMatchObject({ throughput: 20, pings })
  it.advertisement.close()
})
