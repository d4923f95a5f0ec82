import { describe, expect, test } from 'bun:test'
import { Congestion } from '../../../src/udx/stream/congestion.ts'

const acked = (packets: number, now: number, limited = true) => {
  return { packets, now, srtt: 20, limited }
}

const path = (srtt: number) => ({ srtt, rttvar: 0 })

/** A path of 20 ms that delivers `rate` packets per ms, driven for some round trips. */
function drive(congestion: Congestion, rate: number, rounds: number, from: number): number {
  let now = from
  for (let i = 0; i < rounds; i++) {
    const inFlight = congestion.cwnd
    const took = Math.max(20, inFlight / rate)
    now += took
    congestion.onRtt(took, now, path(took))
    congestion.onAcked(acked(inFlight, now))
    congestion.onRound(inFlight, took, true)
  }
  return now
}

describe('Congestion', () => {
  test('starts with ten packets and doubles while it is what holds the sender back', () => {
    const congestion = new Congestion()
    expect(congestion.cwnd).toBe(10)
    congestion.onAcked(acked(10, 20))
    expect(congestion.cwnd).toBe(20)
  })

  test('does not grow for a sender that has little to send', () => {
    const congestion = new Congestion()
    congestion.onAcked(acked(10, 20, false))
    expect(congestion.cwnd).toBe(10)
  })

  test('settles near two bandwidth-delay products instead of filling the path', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    drive(congestion, 10, 40, 0)
    expect(congestion.cwnd).toBeGreaterThan(200)
    expect(congestion.cwnd).toBeLessThan(520)
  })

  test('shrinks by a third on loss, but not below what the path delivers', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    drive(congestion, 10, 40, 0)
    const before = congestion.cwnd
    congestion.onLost(100)
    expect(congestion.cwnd).toBe(Math.floor(before * 0.7))
    for (let i = 0; i < 20; i++) {
      congestion.onRecovered()
      congestion.onLost(100)
    }
    // A queue stands on this path, so what is lost was too much.
    expect(congestion.cwnd).toBe(200)
  })

  test('shrinks once for everything that was in flight when loss was found', () => {
    const congestion = new Congestion()
    congestion.onAcked(acked(90, 20))
    for (let i = 0; i < 9; i++) congestion.onLost(10)
    expect(congestion.cwnd).toBe(70)
  })

  test('takes two packets in a hundred for the way of radio links', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    const now = drive(congestion, 10, 40, 0)
    const before = congestion.cwnd
    for (let i = 0; i < 20; i++) {
      congestion.onAcked(acked(100, now, false))
      congestion.onLost(2)
    }
    expect(congestion.cwnd).toBe(before)
    congestion.onLost(30)
    expect(congestion.cwnd).toBe(Math.floor(before * 0.7))
  })

  test('goes on growing where no queue stands, however much is lost', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    let now = drive(congestion, 10, 40, 0)
    congestion.onRtt(20, now, path(20))
    congestion.onRound(200, 20, true)
    for (let i = 0; i < 20; i++) {
      congestion.onLost(20)
      congestion.onRecovered()
    }
    const floor = congestion.cwnd
    for (let i = 0; i < 100; i++) {
      congestion.onLost(20)
      congestion.onAcked(acked(200, (now += 20)))
      congestion.onRecovered()
    }
    expect([floor >= 250, congestion.cwnd > floor]).toEqual([true, true])
  })

  test('reduces again when packets sent after a reduction are lost as well', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    drive(congestion, 10, 40, 0)
    congestion.onLost(100)
    const once = congestion.cwnd
    congestion.onRound(200, 40, true)
    congestion.onLost(50)
    expect(congestion.cwnd).toBe(once)
    congestion.onRound(200, 40, true)
    expect(congestion.cwnd).toBeLessThan(once)
  })

  test('does not let a tenth of loss end the startup', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    for (let round = 1; round <= 6; round++) {
      const arrived = Math.floor(congestion.cwnd * 0.9)
      congestion.onLost(congestion.cwnd - arrived)
      congestion.onAcked(acked(arrived, 20 * round))
      congestion.onRound(arrived, 20, true)
    }
    expect([congestion.startup, congestion.cwnd > 200]).toEqual([true, true])
  })

  test('ends the startup when even the best round trips of a round are longer', () => {
    const congestion = new Congestion()
    congestion.onRtt(20, 0, path(20))
    congestion.onRound(10, 20, true)
    for (let i = 0; i < 15; i++) congestion.onRtt(25, i, path(22))
    expect(congestion.startup).toBe(true)
    congestion.onRtt(25, 16, path(22))
    expect(congestion.startup).toBe(false)
  })

  test('does not take a path whose round trips differ for a full one', () => {
    const congestion = new Congestion()
    congestion.onRtt(20, 0, path(20))
    congestion.onRound(10, 20, true)
    for (let i = 0; i < 30; i++) congestion.onRtt(25, i, { srtt: 25, rttvar: 5 })
    expect(congestion.startup).toBe(true)
  })

  test('takes back a reduction when the lost packets had only been overtaken', () => {
    const congestion = new Congestion()
    congestion.onAcked(acked(90, 20))
    congestion.onLost(90)
    expect([congestion.cwnd, congestion.startup]).toEqual([70, false])
    congestion.onSpurious(90)
    expect([congestion.cwnd, congestion.startup]).toEqual([100, true])
  })

  test('takes back a timeout when the answer was only late', () => {
    const congestion = new Congestion()
    congestion.onAcked(acked(90, 20))
    congestion.onTimeout()
    expect(congestion.cwnd).toBe(4)
    congestion.onSpurious(1)
    expect(congestion.cwnd).toBe(100)
  })

  test('never falls below four packets', () => {
    const congestion = new Congestion()
    for (let i = 0; i < 20; i++) {
      congestion.onRecovered()
      congestion.onLost(10)
    }
    congestion.onTimeout()
    expect(congestion.cwnd).toBe(4)
  })

  test('empties the pipe for a moment when the shortest round trip is old', () => {
    const congestion = new Congestion()
    congestion.onIdleStart()
    const now = drive(congestion, 10, 40, 0)
    const before = congestion.cwnd
    congestion.onRtt(40, now + 11_000, path(40))
    const during = congestion.cwnd
    congestion.onRtt(22, now + 11_050, path(40))
    congestion.onRtt(25, now + 11_090, path(40))
    expect(during).toBe(100)
    expect(congestion.cwnd).toBeGreaterThan(before)
  })

  test('paces by the window per round trip, with room for one late timer', () => {
    const congestion = new Congestion()
    expect(congestion.allowance(0, 0)).toBe(Infinity)
    expect(congestion.allowance(0, 100)).toBe(16)
    congestion.spend(16)
    expect(congestion.allowance(0, 100)).toBe(0)
    expect(congestion.allowance(8, 100)).toBeCloseTo(2)
    expect(congestion.allowance(10_000, 100)).toBe(16)
  })
})
