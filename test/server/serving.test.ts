// Blocks that a host begins and ends to serve, over an engine without weights.
import { expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Model } from '../../src/model/types.ts'
import { ServerEvents } from '../../src/server/events.ts'
import {
  closeServing,
  fetchBlocks,
  openServing,
  type ServingOptions
} from '../../src/server/serving.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { id, open, Peer } from './sessions/one-server.ts'

const HIDDEN = 64
const SPAN = { start: 1, end: 4 }
const model = await openModel(storiesLocation)

class TellingCompute extends FakeCompute {
  readonly loaded = new Set<number>()
  freeBytes = 256 * 2 ** 20

  override async loadSpan(
    options: Parameters<FakeCompute['loadSpan']>[0]
  ): ReturnType<FakeCompute['loadSpan']> {
    const span = await super.loadSpan(options)
    this.loaded.add(span.span)
    return span
  }

  override async unloadSpan(span: number): Promise<void> {
    this.loaded.delete(span)
  }

  override async stats(): ReturnType<FakeCompute['stats']> {
    return { ...(await super.stats()), freeBytes: this.freeBytes }
  }
}

function options(compute: FakeCompute, stages: string[] = []): ServingOptions {
  const clock = new FakeClock()
  return {
    compute,
    model,
    quant: 'f32',
    clock,
    log: silentLog,
    self: new Uint8Array(32).fill(1),
    reach: () => Promise.reject(new Error('nobody is there')),
    events: new ServerEvents({ clock }),
    onstage: (stage) => stages.push(stage)
  }
}

test('openServing() loads, measures and promises the memory that is left, and tells so', async () => {
  const compute = new TellingCompute(HIDDEN)
  const stages: string[] = []
  const serving = await openServing(SPAN, options(compute, stages))
  expect(stages).toEqual(['loading blocks 1:4', 'measuring'])
  expect([serving.span.start, serving.span.end]).toEqual([1, 4])
  const { freeTokens } = serving.server.status()
  expect(freeTokens).toBeGreaterThan(1000)
  await closeServing(serving, compute)
  const roomier = new TellingCompute(HIDDEN)
  roomier.freeBytes *= 2
  const wide = await openServing(SPAN, options(roomier))
  expect(wide.server.status().freeTokens).toBeGreaterThan(freeTokens * 1.5)
  await closeServing(wide, roomier)
})

test('closeServing() tells the sessions, and frees weights and sessions', async () => {
  const compute = new TellingCompute(HIDDEN)
  const serving = await openServing(SPAN, options(compute))
  const peer = new Peer('a')
  await open(serving.server, peer, 1, { model: model.contentId, start: 1, end: 4 })
  expect([serving.server.sessions.get(id(1))?.maxTokens, compute.sessions.size]).toEqual([20, 1])
  await closeServing(serving, compute)
  expect([compute.sessions.size, compute.loaded.size]).toEqual([0, 0])
})

test('what cannot be served is unloaded: no room for a session, or an engine that fails', async () => {
  const crowded = new TellingCompute(HIDDEN)
  crowded.freeBytes = 1
  const broken = new TellingCompute(HIDDEN)
  broken.onstep = () => {
    throw new AppError('COMPUTE', 'broken')
  }
  const codes = await Promise.all(
    [crowded, broken].map((compute) =>
      openServing(SPAN, options(compute)).catch((error: AppError) => error.code)
    )
  )
  expect(codes).toEqual(['NO_MEMORY', 'COMPUTE'])
  expect([crowded.loaded.size, crowded.sessions.size]).toEqual([0, 0])
  expect([broken.loaded.size, broken.sessions.size]).toEqual([0, 0])
})

test('fetchBlocks() fetches the tensors of its blocks alone, and says so when some are missing', async () => {
  const asked: (readonly string[])[] = []
  const far: Model = {
    ...model,
    tensors: model.tensors,
    get contentId() {
      return model.contentId
    },
    missingBytes: (names) => (names.some((name) => name.includes('layers.1.')) ? 100 : 0),
    ensure: async (names) => void asked.push(names)
  }
  const stages: string[] = []
  const onstage = (stage: string): void => void stages.push(stage)
  await fetchBlocks({ start: 1, end: 2 }, { model: far, onstage })
  await fetchBlocks({ start: 2, end: 3 }, { model: far, onstage })
  expect(stages).toEqual(['fetching blocks 1:2'])
  const blocks = asked.map((names) => [...new Set(names.map((name) => name.split('.')[2]))])
  expect(blocks).toEqual([['1'], ['2']])
})
