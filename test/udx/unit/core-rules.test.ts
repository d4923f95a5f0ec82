import { describe, expect, test } from 'bun:test'
import { Registry } from '../../../src/udx/socket/registry.ts'
import {
  FLAG_DATA,
  FLAG_DESTROY,
  FLAG_END,
  FLAG_HEARTBEAT,
  FLAG_MESSAGE,
  FLAG_SACK,
  createHeader
} from '../../../src/udx/wire.ts'
import { FakeNetwork, createPattern, routeTo } from './fake-network.ts'

const HELLO = Buffer.from('hello')

describe('a packet', () => {
  test('with a heartbeat is answered at once and not looked at further', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_HEARTBEAT | FLAG_DATA, rwnd: 1, seq: 0, ack: 0 }, HELLO)
    network.advance(1)
    expect(left.sent.map(({ flags, ack }) => [flags, ack])).toEqual([[0, 0]])
    expect([left.text, left.core.sender.rwnd]).toEqual(['', 4 << 20])
  })

  test('that destroys closes the stream even when data before it is missing', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DESTROY, seq: 9, ack: 0 })
    expect(left.closedBy).toBe('reset')
  })

  test('that destroys with an old number is ignored', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DATA, seq: 0, ack: 0 }, HELLO)
    network.inject(left, { flags: FLAG_DESTROY, seq: 0, ack: 0 })
    expect([left.closedBy, left.text]).toEqual([null, 'hello'])
  })

  test('that acknowledges what was never sent changes nothing and is not acknowledged', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DATA, seq: 0, ack: 7, rwnd: 1 }, HELLO)
    network.advance(5)
    expect([left.sent.length, left.core.sender.rwnd, left.core.sender.ring.una]).toEqual([
      0,
      4 << 20,
      0
    ])
  })

  test('with padding delivers what lies behind it', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    const padded = Buffer.concat([Buffer.alloc(32), HELLO])
    network.inject(left, { flags: FLAG_DATA, dataOffset: 32, seq: 0, ack: 0 }, padded)
    expect(left.text).toBe('hello')
  })

  test('whose padding is longer than itself is dropped', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DATA, dataOffset: 99, seq: 0, ack: 0 }, HELLO)
    network.advance(5)
    expect([left.text, left.sent.length]).toEqual(['', 0])
  })

  test('that comes again is acknowledged again and not delivered', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DATA, seq: 0, ack: 0 }, HELLO)
    network.advance(1)
    network.inject(left, { flags: FLAG_DATA, seq: 0, ack: 0 }, HELLO)
    network.advance(1)
    expect([left.text, left.sent.map(({ ack }) => ack)]).toEqual(['hello', [1, 1]])
  })

  test('far ahead of its turn is neither kept nor acknowledged', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_DATA, seq: 16_384, ack: 0 }, HELLO)
    network.advance(5)
    expect([left.sent.length, left.core.receiver.heldBytes]).toEqual([0, 0])
  })

  test('behind the end is neither delivered nor kept', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    network.inject(left, { flags: FLAG_END, seq: 1, ack: 0 })
    network.inject(left, { flags: FLAG_DATA, seq: 2, ack: 0 }, Buffer.from('late'))
    network.inject(left, { flags: FLAG_DATA, seq: 0, ack: 0 }, HELLO)
    expect([left.text, left.events]).toEqual(['hello', ['end']])
  })

  test('with SACK ranges that cannot be true is believed in nothing', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left] = network.createPair()
    left.core.write(createPattern(5000))
    network.advance(1)
    const { board } = left.core.sender
    const ranges = new Uint8Array(Uint32Array.of(3, 3, 4, 2, 2, 99, 2 ** 32 - 1, 2).buffer)
    network.inject(left, { flags: FLAG_SACK, seq: 0, ack: 0 }, ranges)
    expect([board.sacked, board.inflight]).toEqual([0, 5])
  })

  test('with true SACK ranges frees what they name', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left] = network.createPair()
    left.core.write(createPattern(5000))
    network.advance(1)
    const ranges = new Uint8Array(Uint32Array.of(1, 2, 3, 5).buffer)
    network.inject(left, { flags: FLAG_SACK, seq: 0, ack: 0 }, ranges)
    expect(left.core.sender.board.sacked).toBe(3)
  })

  test('of a peer that ignores the window is dropped once two windows lie unread', () => {
    const network = new FakeNetwork()
    const [left] = network.createPair()
    left.paused = true
    const payload = createPattern(60_000)
    for (let seq = 0; seq < 300; seq++) {
      network.inject(left, { flags: FLAG_DATA, seq, ack: 0 }, payload)
    }
    expect(left.receivedBytes).toBeLessThan(9 * 1024 * 1024)
  })

  test('with a message is handed over, empty or not, in no order', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.sendMessage(HELLO)
    left.core.sendMessage(new Uint8Array(0))
    network.advance(5)
    expect(left.sent.map(({ flags, seq }) => [flags, seq])).toEqual([
      [FLAG_MESSAGE, 0],
      [FLAG_MESSAGE, 0]
    ])
    expect(right.messages.map((one) => one.length)).toEqual([5, 0])
  })
})

describe('a stream', () => {
  test('takes data before it is connected and acknowledges when it is', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const left = network.createEnd('left', 1)
    const right = network.createEnd('right', 2)
    right.firewall = () => false
    left.connect(right)
    left.core.write(HELLO)
    left.core.end()
    network.advance(100)
    expect([right.text, right.events, right.sent.length]).toEqual(['hello', [], 0])
    right.connect(left)
    expect(right.events).toEqual(['end'])
    network.advance(10)
    expect([right.sent.length, left.core.sender.board.inflight]).toEqual([1, 0])
  })

  test('that is not connected takes nothing without a firewall that lets it', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const left = network.createEnd('left', 1)
    const right = network.createEnd('right', 2)
    left.connect(right)
    left.core.write(HELLO)
    network.advance(100)
    expect([right.text, right.core.traffic.packetsReceived]).toEqual(['', 0])
  })

  test('tells its peer once when it is destroyed', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.write(createPattern(50_000))
    network.advance(0.5)
    left.core.destroy()
    left.core.destroy()
    network.advance(5)
    expect(left.sent.filter(({ flags }) => flags === FLAG_DESTROY).length).toBe(1)
    expect([left.closedBy, right.closedBy]).toEqual(['destroyed', 'reset'])
    expect([network.pool.taken, network.armed]).toEqual([0, 0])
  })

  test('lets what it ended with leave before the word that it is destroyed', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.write(HELLO)
    left.core.end()
    left.core.destroy()
    network.advance(5)
    expect(left.sent.map(({ flags }) => flags)).toEqual([FLAG_DATA | FLAG_END, FLAG_DESTROY])
    expect([right.text, right.events, right.closedBy]).toEqual(['hello', ['end', 'close'], 'reset'])
  })

  test('acknowledges the last END before it closes', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.end()
    network.advance(5)
    right.core.end()
    network.advance(10)
    expect([left.closedBy, right.closedBy]).toEqual(['done', 'done'])
  })

  test('closes without an error when only the acknowledgement of its END got lost', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    right.core.end()
    network.advance(20)
    network.path = { delayMs: 1, drop: ({ from }) => from === 'right' }
    left.core.end()
    network.advance(20_000)
    expect([left.closedBy, left.events]).toEqual(['done', ['end', 'close']])
  })

  test('times out when the acknowledgement of data is what got lost', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    right.core.end()
    network.advance(20)
    network.path = { delayMs: 1, drop: ({ from }) => from === 'right' }
    left.core.write(HELLO)
    left.core.end()
    network.advance(20_000)
    expect(left.closedBy).toBe('timeout')
  })

  test('starts at the numbers it is told', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair({ seq: 2 ** 32 - 3 })
    left.core.write(createPattern(20_000))
    network.advance(100)
    expect(Buffer.from(Buffer.concat(right.received)).equals(createPattern(20_000))).toBe(true)
    expect(left.core.sender.ring.una).toBeLessThan(100)
  })

  test('puts several small writes of a turn into one packet', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left] = network.createPair()
    for (const word of ['one', 'two', 'three']) left.core.write(Buffer.from(word))
    network.advance(0.5)
    expect(left.sent.map(({ bytes }) => bytes.length)).toEqual([31])
  })
})

describe('changeRemote()', () => {
  test('is complete at once when nothing is in flight', () => {
    const network = new FakeNetwork()
    const [left, right] = network.createPair()
    expect(left.core.changeRemote(left.outlet, routeTo(right))).toBe(true)
    expect(left.events).toEqual(['remote-changed'])
  })

  test('waits for the new remote when written bytes have not left yet', () => {
    const network = new FakeNetwork({ delayMs: 10 })
    const [left, right] = network.createPair()
    left.core.write(HELLO)
    expect(left.core.changeRemote(left.outlet, routeTo(right))).toBe(false)
    network.advance(15)
    expect(left.events).toEqual([])
    network.advance(10)
    expect([left.events, right.text]).toEqual([['remote-changed'], 'hello'])
  })

  test('sends new packets to the new remote and completes when the old ones are acknowledged', () => {
    const network = new FakeNetwork({ delayMs: 10 })
    const [left, right] = network.createPair()
    left.core.write(HELLO)
    network.advance(1)
    const other = { ...routeTo(right), remoteId: 77 }
    expect(left.core.changeRemote(left.outlet, other)).toBe(false)
    left.core.write(HELLO)
    network.advance(1)
    expect(left.sent.map(({ id }) => id)).toEqual([2, 77])
    expect(left.events).toEqual([])
    network.advance(20)
    expect(left.events).toEqual(['remote-changed'])
  })

  test('leaves the address and id of packets that are sent again', () => {
    const network = new FakeNetwork({ loss: 1 })
    const [left, right] = network.createPair()
    left.core.write(HELLO)
    network.advance(1)
    left.core.changeRemote(left.outlet, { ...routeTo(right), remoteId: 77 })
    network.advance(1500)
    expect(left.sent.map(({ id }) => id)).toEqual([2, 2])
  })
})

describe('relay', () => {
  test('forwards every packet with only the id changed, and sends none of its own', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [a, d] = [network.createEnd('a', 1), network.createEnd('d', 4)]
    const [b, c] = [network.createEnd('b', 2), network.createEnd('c', 3)]
    a.connect(b)
    b.connect(a)
    d.connect(c)
    c.connect(d)
    b.core.relayTo(c.core)
    c.core.relayTo(b.core)
    a.core.write(HELLO)
    network.advance(20)
    const [from, to] = [a.sent[0]?.bytes, c.sent[0]?.bytes]
    expect(d.text).toBe('hello')
    expect(to?.subarray(8)).toEqual(from?.subarray(8) ?? new Uint8Array(0))
    expect([a.sent[0]?.id, c.sent[0]?.id, b.sent[0]?.id]).toEqual([2, 4, 1])
    expect([b.text, a.core.sender.board.inflight]).toEqual(['', 0])
    a.core.destroy()
    network.advance(20)
    expect([a, b, c, d].map(({ closedBy }) => closedBy)).toEqual([
      'destroyed',
      'reset',
      'relay',
      'reset'
    ])
  })
})

describe('Registry', () => {
  test('answers a late END for a stream that closed cleanly, for a while', () => {
    const network = new FakeNetwork({ delayMs: 1 })
    const [left, right] = network.createPair()
    left.core.end()
    right.core.end()
    network.advance(20)
    const registry = new Registry()
    registry.remove(left.core, true, network.now())
    const before = left.sent.length
    const late = { ...createHeader(), id: 1, flags: FLAG_END, seq: 0 }
    expect(registry.answer(late, network.now())).toBe(true)
    left.outlet.flush()
    expect(left.sent.slice(before).map(({ flags, id, ack }) => [flags, id, ack])).toEqual([
      [0, 2, 1]
    ])
    expect(registry.answer(late, network.now() + 16_000)).toBe(false)
  })

  test('has no answer for what was destroyed, and forgets when the id is used again', () => {
    const network = new FakeNetwork()
    const [left, right] = network.createPair()
    const registry = new Registry()
    registry.remove(left.core, false, 0)
    registry.remove(right.core, true, 0)
    registry.add(right.core)
    const late = { ...createHeader(), flags: FLAG_END }
    expect(registry.answer({ ...late, id: 1 }, 0)).toBe(false)
    expect(registry.answer({ ...late, id: 2 }, 0)).toBe(false)
  })
})
