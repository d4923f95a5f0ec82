// When a record is put, with which number, and what it says: by a clock that stands still.
import { describe, expect, test } from 'bun:test'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { Publisher, REFRESH_MS } from '../../src/swarm/publisher.ts'
import { decodeRecord } from '../../src/swarm/record.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { infoOf } from './world.ts'

interface Put {
  readonly at: number
  readonly seq: number
  readonly free: number | undefined
}

function makePublisher(last = 0): { clock: FakeClock; puts: Put[]; publisher: Publisher } {
  const clock = new FakeClock()
  const puts: Put[] = []
  const publisher = new Publisher({
    clock,
    random: seededRandom(1),
    log: silentLog,
    put: async (record, seq) => {
      puts.push({ at: clock.now(), seq, free: decodeRecord(record)[0]?.freeTokens })
    },
    lastSeq: async () => last
  })
  return { clock, puts, publisher }
}

const withFree = (freeTokens: number): ReturnType<typeof infoOf>[] => [infoOf(0, 3, { freeTokens })]

describe('Publisher', () => {
  test('publishes at once and again long before the record expires', async () => {
    const { clock, puts, publisher } = makePublisher()
    await publisher.start(withFree(1))
    await clock.advance(120_000)
    const gaps = puts.slice(1).map(({ at }, i) => at - (puts[i]?.at ?? 0))
    expect(puts.length).toBeGreaterThanOrEqual(5)
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(REFRESH_MS * 0.8)
      expect(gap).toBeLessThanOrEqual(REFRESH_MS * 1.2)
    }
    await publisher.stop()
  })

  test('numbers records by the clock, and above what was there when it was set back', async () => {
    const fresh = makePublisher()
    await fresh.publisher.start(withFree(1))
    const ahead = fresh.clock.wall() + 3_600_000
    const late = makePublisher(ahead)
    await late.publisher.start(withFree(1))
    late.publisher.update(withFree(2), true)
    await late.clock.advance(0)
    expect(fresh.puts.map(({ seq }) => seq)).toEqual([fresh.clock.wall()])
    expect(late.puts.map(({ seq }) => seq)).toEqual([ahead + 1, ahead + 2])
  })

  test('puts mere numbers together, and what is urgent at once', async () => {
    const { clock, puts, publisher } = makePublisher()
    await publisher.start(withFree(1))
    for (let i = 2; i <= 6; i++) {
      await clock.advance(100)
      publisher.update(withFree(i))
    }
    await clock.advance(4500)
    publisher.update(withFree(7), true)
    await clock.advance(0)
    expect(puts.map(({ at, free }) => [at, free])).toEqual([
      [0, 1],
      [5000, 6],
      [5000, 7]
    ])
    await publisher.stop()
  })

  test('says that nothing is served any more, last of all', async () => {
    const { clock, puts, publisher } = makePublisher()
    await publisher.start(withFree(1))
    publisher.update(withFree(2), true)
    await publisher.stop()
    publisher.update(withFree(3), true)
    await clock.advance(120_000)
    expect(puts.map(({ free }) => free)).toEqual([1, undefined])
    expect(clock.pending).toBe(0)
  })

  test('goes on after a put that failed', async () => {
    const { clock, puts, publisher } = makePublisher()
    let failures = 1
    const failing = new Publisher({
      clock,
      random: seededRandom(1),
      log: silentLog,
      put: async (_, seq) => {
        if (failures-- > 0) throw new Error('No answer')
        puts.push({ at: clock.now(), seq, free: 0 })
      },
      lastSeq: async () => 0
    })
    const first = await failing.start(withFree(1)).catch((error: Error) => error.message)
    await clock.advance(REFRESH_MS * 1.2)
    expect([first, puts.length]).toEqual(['No answer', 1])
    await Promise.all([failing.stop(), publisher.stop()])
  })
})
