import { describe, expect, test } from 'bun:test'
import { FLAG_DATA, FLAG_END, FLAG_HEARTBEAT, FLAG_SACK } from '../../../src/udx/wire.ts'
import {
  FakeNetwork,
  type PathOptions,
  type Seen,
  createPattern,
  isPayload
} from './fake-network.ts'

const DATA_END = FLAG_DATA | FLAG_END

function timesSince(start: number, packets: readonly Seen[]): number[] {
  return packets.map(({ at }) => Math.round(at - start))
}

describe('retransmission timeout', () => {
  test('resends at 1, 3, 5, 7, 9 and 11 s and gives up at 13', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left] = network.createPair()
    const start = network.time
    left.core.write(createPattern(10))
    network.advance(12_999)
    expect(timesSince(start, left.sent)).toEqual([0, 1000, 3000, 5000, 7000, 9000, 11_000])
    expect(left.closedBy).toBeNull()
    network.advance(2)
    expect(left.closedBy).toBe('timeout')
  })

  test('ends without a packet to the peer', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(20_000)
    expect(left.sent.every(({ flags }) => flags === FLAG_DATA)).toBe(true)
  })

  test('starts over when the peer answers', () => {
    let open = false
    const network = new FakeNetwork({ drop: () => !open })
    const [left, right] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(10_500)
    open = true
    network.advance(3000)
    expect([left.closedBy, right.receivedBytes, left.core.sender.timer]).toEqual([null, 10, 0])
  })

  test('never comes for a stream that has nothing in flight', () => {
    const network = new FakeNetwork()
    const [left, right] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(1000)
    network.path = { loss: 1 }
    network.advance(3_600_000)
    expect([left.closedBy, right.closedBy, network.armed]).toEqual([null, null, 0])
  })
})

describe('tail loss probe', () => {
  test('resends the last packet after two round trips', () => {
    const network = new FakeNetwork({ delayMs: 25 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(500)
    let dropped = 0
    network.path = { delayMs: 25, drop: (packet) => isPayload(packet) && dropped++ === 0 }
    const start = network.time
    const before = left.sent.length
    left.core.write(createPattern(10))
    network.advance(500)
    expect(timesSince(start, left.sent.slice(before))).toEqual([0, 102])
    expect([right.receivedBytes, left.core.sender.rtoCount]).toEqual([20, 0])
  })

  test('sends the packet that the peer waits for when the first one stays unanswered', () => {
    const network = new FakeNetwork({ delayMs: 25 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(500)
    let dropped = 0
    network.path = { delayMs: 25, drop: (packet) => isPayload(packet) && dropped++ < 4 }
    const before = left.sent.length
    left.core.write(createPattern(3000))
    network.advance(900)
    expect(left.sent.slice(before).map(({ seq }) => seq)).toEqual([1, 2, 3, 3, 1, 2, 3])
    expect([right.receivedBytes, left.core.sender.rtoCount]).toEqual([3010, 0])
  })

  test('is not sent before the peer was ever heard', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(999)
    expect(left.sent.length).toBe(1)
  })

  test('repeats at doubling distance and leaves the timeouts where they are', () => {
    const network = new FakeNetwork({ delayMs: 25 })
    const [left] = network.createPair()
    left.core.write(createPattern(10))
    network.advance(500)
    network.path = { loss: 1 }
    const start = network.time
    const before = left.sent.length
    left.core.write(createPattern(10))
    network.advance(3200)
    expect(timesSince(start, left.sent.slice(before))).toEqual([0, 102, 306, 714, 1102, 1918, 3102])
  })
})

describe('RACK', () => {
  test('repairs a hole from the acknowledgements behind it, without a timeout', () => {
    let dropped = 0
    const network = new FakeNetwork({
      delayMs: 20,
      drop: (packet) => isPayload(packet) && packet.seq === 5 && dropped++ === 0
    })
    const [left, right] = network.createPair()
    left.core.write(createPattern(40_000))
    network.advance(400)
    expect([right.receivedBytes, left.core.sender.rtoCount]).toEqual([40_000, 0])
    expect(left.core.sender.fastRecoveries).toBe(1)
    expect(left.sent.filter(({ seq }) => seq === 5).length).toBe(2)
  })

  test('does not take a lost MTU probe for congestion, and sends it again without padding', () => {
    const network = new FakeNetwork({ delayMs: 20, drop: ({ dataOffset }) => dataOffset > 0 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(400_000))
    network.advance(5000)
    expect(right.receivedBytes).toBe(400_000)
    expect([left.core.sender.mtu.mtu, left.core.sender.fastRecoveries]).toEqual([1200, 0])
  })
})

describe('a bad path', () => {
  /** Virtual ms that 4 MB take over a round trip of 20 ms and more. */
  function transferMs(path: PathOptions): { ms: number; resent: number } {
    const network = new FakeNetwork({ delayMs: 10, ...path }, 3)
    const [left, right] = network.createPair()
    const start = network.time
    let received = 0
    right.ondata = (data) => {
      received += data.length
    }
    left.core.write(createPattern(4_000_000))
    network.advance(60_000, () => received === 4_000_000)
    return { ms: network.time - start, resent: left.core.sender.board.retransmits }
  }

  test('that loses one packet in twenty is still used well', () => {
    expect(transferMs({ loss: 0.05 }).ms).toBeLessThan(800)
  })

  test('that loses one packet in five still carries megabytes in seconds', () => {
    expect(transferMs({ loss: 0.2 }).ms).toBeLessThan(5000)
  })

  test('that only overtakes is learned, and little is sent twice', () => {
    const { ms, resent } = transferMs({ jitterMs: 10 })
    expect(ms).toBeLessThan(2500)
    expect(resent).toBeLessThan(60)
  })
})

describe('zero window', () => {
  test('is probed with heartbeats for as long as it takes', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left] = network.createPair()
    network.inject(left, { rwnd: 0, seq: 0, ack: 0 })
    const start = network.time
    left.core.write(createPattern(10))
    network.path = { loss: 1 }
    network.advance(30_000)
    const kinds = left.sent.map(({ flags }) => flags)
    expect(kinds.every((flags) => flags === FLAG_HEARTBEAT)).toBe(true)
    expect(timesSince(start, left.sent).slice(0, 4)).toEqual([0, 1000, 3000, 5000])
    expect(left.closedBy).toBeNull()
  })

  test('ends when the peer says that there is room', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    network.inject(left, { rwnd: 0, seq: 0, ack: 0 })
    left.core.write(createPattern(10))
    network.advance(100)
    expect(right.receivedBytes).toBe(10)
  })

  test('is what a reader gets who stops reading, and it opens again', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    right.paused = true
    left.core.write(createPattern(12_000_000))
    network.advance(20_000)
    const stalled = right.receivedBytes
    expect(stalled).toBeGreaterThan(4_000_000)
    expect(stalled).toBeLessThan(9_000_000)
    right.paused = false
    right.read()
    network.advance(20_000)
    expect(right.receivedBytes).toBe(12_000_000)
  })

  test('rule: an older packet does not change the window', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    const { sender } = left.core
    network.inject(left, { rwnd: 5000, seq: 3, ack: 0 })
    network.inject(left, { rwnd: 9000, seq: 2, ack: 0 })
    expect(sender.rwnd).toBe(5000)
    network.inject(left, { rwnd: 7000, seq: 3, ack: 0 })
    expect(sender.rwnd).toBe(7000)
  })
})

describe('keepalive', () => {
  test('sends heartbeats while idle, which the peer answers', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.setKeepalive(100)
    network.advance(350)
    expect(left.sent.map(({ flags }) => flags)).toEqual([0x20, 0x20, 0x20])
    expect(right.sent.map(({ flags }) => flags)).toEqual([0, 0, 0])
    left.core.setKeepalive(0)
    network.advance(1000)
    expect([left.sent.length, network.armed]).toEqual([3, 0])
  })

  test('waits until what was written is acknowledged', () => {
    const network = new FakeNetwork({ delayMs: 40 })
    const [left] = network.createPair()
    left.core.setKeepalive(100)
    left.core.write(createPattern(10))
    network.advance(170)
    expect(left.sent.map(({ flags }) => flags)).toEqual([FLAG_DATA])
    network.advance(20)
    expect(left.sent.map(({ flags }) => flags)).toEqual([FLAG_DATA, FLAG_HEARTBEAT])
  })
})

describe('acknowledgement', () => {
  test('comes once for what arrived in one turn, and rides on data where there is some', () => {
    const network = new FakeNetwork({ delayMs: 10 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(8000))
    network.advance(15)
    expect(right.sent.map(({ flags, ack }) => [flags, ack])).toEqual([[0, 7]])
    right.core.write(createPattern(5))
    left.core.write(createPattern(5))
    network.advance(10.5)
    expect(right.sent.slice(1).map(({ flags, ack }) => [flags, ack])).toEqual([
      [FLAG_DATA, 7],
      [0, 8]
    ])
  })

  test('lists what is here above a hole', () => {
    const network = new FakeNetwork({ delayMs: 10, drop: (packet) => packet.seq === 1 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(4000))
    network.advance(15)
    const [sack] = right.sent
    expect([sack?.flags, sack?.ack]).toEqual([FLAG_SACK, 1])
    expect([...new Uint32Array(sack?.bytes.slice(20).buffer ?? [])]).toEqual([2, 4])
  })

  test('of an END with data counts one number', () => {
    const network = new FakeNetwork({ delayMs: 10 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(5))
    left.core.end()
    network.advance(15)
    expect(left.sent.map(({ flags, seq }) => [flags, seq])).toEqual([[DATA_END, 0]])
    expect([right.events, right.core.receiver.nxt]).toEqual([['end'], 1])
  })
})
