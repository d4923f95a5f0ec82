// Finding peers with weights over a node that joins late, or never.
import { expect, test } from 'bun:test'
import { unavailable, type AppError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { WeightFinder } from '../../src/weights/weight-finder.ts'
import { FakeClock, settle } from '../support/fakes/fake-clock.ts'

function finder(ready: () => Promise<void>): { finder: WeightFinder; clock: FakeClock } {
  const clock = new FakeClock()
  const node = { ready } as SwarmNode
  const options = { node, clock, random: seededRandom(1), log: silentLog }
  return { finder: new WeightFinder(options), clock }
}

test('who wants weights does not wait for ever for a node that nobody answers', async () => {
  const { finder: one, clock } = finder(() => new Promise(() => {}))
  let found: readonly unknown[] | undefined
  void one.find('owner/name', undefined).then((links) => (found = links))
  await settle()
  expect(found).toBeUndefined()
  await clock.advance(12_000)
  expect(found).toEqual([])
})

test('a node that cannot join has no peers, and a cancelled search throws', async () => {
  const { finder: failing } = finder(() => Promise.reject(unavailable('no network')))
  expect(await failing.find('owner/name', undefined)).toEqual([])
  const { finder: waiting } = finder(() => new Promise(() => {}))
  const controller = new AbortController()
  const search = waiting.find('owner/name', controller.signal).catch((e: AppError) => e.code)
  controller.abort()
  expect(await search).toBe('CANCELLED')
})
