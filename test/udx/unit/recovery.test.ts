import { describe, expect, test } from 'bun:test'
import {
  MtuSearch,
  Rack,
  RttEstimator,
  probeTimeoutMs,
  reorderWindowMs
} from '../../../src/udx/stream/recovery.ts'

describe('RttEstimator', () => {
  test('starts with the first sample and half of it as variance', () => {
    const rtt = new RttEstimator()
    rtt.sample(800, 0)
    expect([rtt.srtt, rtt.rttvar, rtt.rto]).toEqual([800, 400, 2400])
  })

  test('smooths with an eighth and a quarter', () => {
    const rtt = new RttEstimator()
    rtt.sample(800, 0)
    rtt.sample(1600, 0)
    expect([rtt.srtt, rtt.rttvar]).toEqual([900, 500])
  })

  test('keeps the timeout between one and thirty seconds', () => {
    const fast = new RttEstimator()
    fast.sample(1, 0)
    const slow = new RttEstimator()
    slow.sample(60_000, 0)
    expect([fast.rto, slow.srtt, slow.rto]).toEqual([1000, 30_000, 30_000])
  })

  test('does not believe that a path suddenly takes an hour', () => {
    const rtt = new RttEstimator()
    rtt.sample(100, 0)
    rtt.sample(3_600_000, 0)
    expect(rtt.srtt).toBe((7 * 100 + 350) / 8)
  })

  test('forgets a minimum that is older than its window', () => {
    const rtt = new RttEstimator()
    rtt.sample(5, 0)
    rtt.sample(50, 150_000)
    expect(rtt.minRtt).toBe(5)
    rtt.sample(60, 310_000)
    expect(rtt.minRtt).toBe(50)
  })
})

describe('reorderWindowMs()', () => {
  const rtt = new RttEstimator()
  rtt.sample(80, 0)

  test('is a quarter of the shortest round trip', () => {
    expect(reorderWindowMs(new Rack(), rtt, false, 2)).toBe(20)
  })

  test('is as long as packets came late, up to a round trip', () => {
    const rack = new Rack()
    rack.late(35)
    rack.late(10)
    expect(reorderWindowMs(rack, rtt, true, 3)).toBe(35)
    rack.late(300)
    expect(reorderWindowMs(rack, rtt, true, 3)).toBe(80)
  })

  test('forgets over many recoveries that packets came late', () => {
    const rack = new Rack()
    rack.late(60)
    for (let i = 0; i < 17; i++) rack.recovered()
    expect(reorderWindowMs(rack, rtt, true, 3)).toBeCloseTo(30, 0)
    for (let i = 0; i < 50; i++) rack.recovered()
    expect(reorderWindowMs(rack, rtt, true, 3)).toBe(20)
  })

  test('is nothing when loss is certain and order was never broken', () => {
    expect(reorderWindowMs(new Rack(), rtt, false, 3)).toBe(0)
    expect(reorderWindowMs(new Rack(), rtt, true, 0)).toBe(0)
  })

  test('stays when the path was seen to reorder', () => {
    const rack = new Rack()
    rack.reordered = true
    expect(reorderWindowMs(rack, rtt, true, 9)).toBe(20)
  })
})

describe('Rack', () => {
  test('ignores the acknowledgement that came too soon after sending again', () => {
    const rack = new Rack()
    rack.delivered(100, 1, 150, false, 50)
    rack.delivered(200, 2, 210, true, 50)
    expect([rack.sentAt, rack.end]).toEqual([100, 1])
  })

  test('orders packets of one instant by number', () => {
    const rack = new Rack()
    rack.delivered(100, 5, 150, false, 0)
    expect([rack.isBefore(100, 4), rack.isBefore(100, 6), rack.isBefore(99, 9)]).toEqual([
      true,
      false,
      true
    ])
  })
})

describe('probeTimeoutMs()', () => {
  test('is a second without a sample', () => {
    expect(probeTimeoutMs(new RttEstimator(), 1)).toBe(1000)
  })

  test('is two round trips, and the delay of an acknowledgement for a lone packet', () => {
    const rtt = new RttEstimator()
    rtt.sample(50, 0)
    expect([probeTimeoutMs(rtt, 2), probeTimeoutMs(rtt, 1)]).toEqual([100, 102])
  })
})

describe('MtuSearch', () => {
  test('reaches 1500 in two probes on a path that takes it', () => {
    const search = new MtuSearch(1500)
    search.start()
    const sizes: number[] = []
    while (search.wantsProbe) {
      sizes.push(search.size)
      search.sent()
      search.acked(search.size)
    }
    expect(sizes).toEqual([1455, 1500])
    expect(search.mtu).toBe(1500)
  })

  test('falls back to small steps and stops below the limit of the path', () => {
    const search = new MtuSearch(1500)
    search.start()
    for (let i = 0; search.wantsProbe && i < 100; i++) {
      search.sent()
      if (search.size <= 1320) search.acked(search.size)
      else search.lost()
    }
    expect(search.wantsProbe).toBe(false)
    expect(search.mtu).toBe(1296)
  })

  test('has one probe under way at a time and none where DF cannot be set', () => {
    const search = new MtuSearch(1500)
    search.start()
    search.sent()
    const off = new MtuSearch(0)
    off.start()
    expect([search.wantsProbe, off.wantsProbe, off.mtu]).toEqual([false, false, 1200])
  })
})
