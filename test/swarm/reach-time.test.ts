// How long reaching a server may take: long enough for a slow network, not for ever.
import { expect, test } from 'bun:test'
import { systemClock } from '../../src/base/clock.ts'
import { measureRtts, reachLimitMs } from '../../src/swarm/dht/reach-time.ts'
import { World } from './world.ts'

test('reachLimitMs() grows with the round trip that was measured', () => {
  expect([[1], [1, 2, 900], [500, 510, 520], [2000], []].map((rtts) => reachLimitMs(rtts))).toEqual(
    [4012, 4024, 10_120, 20_000, 20_000]
  )
})

test('measureRtts() asks nodes of the DHT, and waits for none that is gone', async () => {
  await using world = await World.start(1)
  const client = await world.node()
  const near = await measureRtts(client.dht, systemClock)
  expect([near.length > 0, near.every((ms) => ms < 2_000)]).toEqual([true, true])
})
