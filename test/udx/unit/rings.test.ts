import { describe, expect, test } from 'bun:test'
import { ByteQueue } from '../../../src/udx/stream/queue.ts'
import { ReceiveRing, STATE_SENT, SentRing } from '../../../src/udx/stream/rings.ts'
import { SlotPool, sizeSlot } from '../../../src/udx/stream/slots.ts'
import { seqAdd } from '../../../src/udx/wire.ts'
import { createPattern } from './fake-network.ts'

const NEAR_WRAP = 2 ** 32 - 40

describe('SentRing', () => {
  test('keeps its packets when it grows across the wrap of numbers', () => {
    const ring = new SentRing(NEAR_WRAP)
    for (let i = 0; i < 300; i++) {
      const index = ring.push()
      ring.state[index] = STATE_SENT
      ring.sizes[index] = i
    }
    const sizes = Array.from({ length: 300 }, (_, i) => {
      return ring.sizes[seqAdd(NEAR_WRAP, i) & ring.mask]
    })
    expect(ring.span).toBe(300)
    expect(ring.nxt).toBe(260)
    expect(sizes).toEqual(Array.from({ length: 300 }, (_, i) => i))
  })
})

describe('ReceiveRing', () => {
  test('returns packets in order once the gap is filled', () => {
    const ring = new ReceiveRing(NEAR_WRAP)
    for (let i = 199; i > 0; i--) ring.put(seqAdd(NEAR_WRAP, i), Uint8Array.of(i))
    expect(ring.shift()).toBeUndefined()
    expect([ring.count, ring.bytes]).toEqual([199, 199])
    ring.advance()
    const order: number[] = []
    for (let one = ring.shift(); one !== undefined; one = ring.shift()) order.push(one?.[0] ?? -1)
    expect(order).toEqual(Array.from({ length: 199 }, (_, i) => i + 1))
    expect([ring.count, ring.bytes, ring.nxt]).toEqual([0, 0, 160])
  })

  test('describes what it holds as merged ascending ranges', () => {
    const ring = new ReceiveRing(10)
    for (const seq of [20, 12, 13, 17, 21]) ring.put(seq, new Uint8Array(1))
    const words = new Uint32Array(12)
    expect(ring.ranges(words, 2, 50)).toBe(3)
    expect([...words.subarray(2, 8)]).toEqual([12, 14, 17, 18, 20, 22])
    expect(ring.ranges(words, 0, 2)).toBe(2)
  })
})

describe('ByteQueue', () => {
  test('gives out what was written, whatever the cuts', () => {
    const queue = new ByteQueue()
    const whole = createPattern(10_000)
    for (let at = 0, n = 0; at < whole.length; at += n) {
      n = (at % 97) + 1
      queue.push(whole.subarray(at, at + n))
    }
    const out = new Uint8Array(10_000)
    for (let at = 0; at < out.length;) {
      const n = Math.min(171, queue.length)
      queue.copyTo(out, at, n)
      at += n
    }
    expect(queue.length).toBe(0)
    expect(Buffer.compare(out, whole)).toBe(0)
  })
})

describe('SlotPool', () => {
  test('never lends the same memory twice', () => {
    const pool = new SlotPool()
    const slots = Array.from({ length: 600 }, () => pool.take())
    slots.forEach((slot, i) => slot.bytes.fill(i & 0xff))
    expect(slots.every((slot, i) => slot.bytes.every((byte) => byte === (i & 0xff)))).toBe(true)
    for (const slot of slots) pool.give(slot)
    expect(pool.taken).toBe(0)
  })

  test('reuses the view when a packet has the same length', () => {
    const slot = new SlotPool().take()
    sizeSlot(slot, 1200)
    const { packet } = slot
    sizeSlot(slot, 1200)
    expect(slot.packet).toBe(packet)
  })
})
