import { describe, expect, test } from 'bun:test'
import { Congestion } from '../../../src/udx/congestion.ts'

const acked = (packets: number, now: number, limited = true) => {
  return { packets, now, srtt: 20, limited }
}

/** A path of 20 ms that delivers `rate` packets per ms, driven for some round trips. */
function drive(congestion: Congestion, rate: number, rounds: number, from: number): number {
  let now = from
  for (let i = 0; i < rounds; i++) {
    const inFlight = congestion.cwnd
    const took = Math.max(20, inFlight / rate)
    now += took
    congestion.onRtt(took, now, took)
    congestion.onAcked(acked(inFlight, now))
    congestion.onRound(now, true)
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
    congestion.onIdleStart(0)
    drive(congestion, 10, 40, 0)
    expect(congestion.cwnd).toBeGreaterThan(200)
    expect(congestion.cwnd).toBeLessThan(520)
  })

  test('shrinks by a third on loss, but not below what the path delivers', () => {
    const congestion = new Congestion()
    congestion.onIdleStart(0)
    drive(congestion, 10, 40, 0)
    const before = congestion.cwnd
    congestion.onLost(100)
    expect(congestion.cwnd).toBe(Math.floor(before * 0.7))
    for (let i = 0; i < 20; i++) {
      congestion.onRecovered()
      congestion.onLost(100)
    }
    expect(congestion.cwnd).toBe(250)
  })

  test('shrinks once for everything that was in flight when loss was found', () => {
    const congestion = new Congestion()
    congestion.onAcked(acked(90, 20))
    for (let i = 0; i < 5; i++) congestion.onLost(10)
    expect(congestion.cwnd).toBe(70)
  })

  test('takes one packet in a hundred for the way of radio links', () => {
    const congestion = new Congestion()
    for (let i = 0; i < 10; i++) {
      congestion.onAcked(acked(100, 20 * i, false))
      congestion.onLost(1)
    }
    expect(congestion.cwnd).toBe(10)
    congestion.onLost(5)
    expect(congestion.cwnd).toBe(7)
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
    congestion.onIdleStart(0)
    const now = drive(congestion, 10, 40, 0)
    const before = congestion.cwnd
    congestion.onRtt(40, now + 11_000, 40)
    const during = congestion.cwnd
    congestion.onRtt(22, now + 11_050, 40)
    congestion.onRtt(25, now + 11_090, 40)
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
