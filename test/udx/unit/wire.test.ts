import { describe, expect, test } from 'bun:test'
import {
  FLAG_DATA,
  FLAG_END,
  FLAG_SACK,
  HEADER_BYTES,
  createHeader,
  isSackRangeValid,
  isStreamPacket,
  readHeader,
  readU32,
  sackArea,
  seqAdd,
  seqDiff,
  writeHeader,
  writeU32
} from '../../../src/udx/wire.ts'

const GOLDEN = ['ff010320', '78563412', '00004000', 'fbffffff', '01000000'].join('')

describe('header', () => {
  test('has the bytes that libudx reads', () => {
    const bytes = new Uint8Array(HEADER_BYTES)
    writeHeader(new Uint32Array(bytes.buffer), {
      flags: FLAG_DATA | FLAG_END,
      dataOffset: 32,
      id: 0x12345678,
      rwnd: 4 * 1024 * 1024,
      seq: 2 ** 32 - 5,
      ack: 1
    })
    expect(Buffer.from(bytes).toString('hex')).toBe(GOLDEN)
  })

  test('is read back from the same bytes', () => {
    const header = createHeader()
    readHeader(Buffer.from(GOLDEN, 'hex'), header)
    expect(header).toEqual({
      flags: 3,
      dataOffset: 32,
      id: 0x12345678,
      rwnd: 4194304,
      seq: 4294967291,
      ack: 1
    })
  })

  test('is asked of packets that are long enough, ours and of version 1', () => {
    const good = Buffer.from(GOLDEN, 'hex')
    const magic = Buffer.from(good).fill(0xfe, 0, 1)
    const version = Buffer.from(good).fill(2, 1, 2)
    const verdicts = [good, good.subarray(0, 19), magic, version].map((one) => isStreamPacket(one))
    expect(verdicts).toEqual([true, false, false, false])
  })

  test('words are little-endian at any offset', () => {
    const bytes = new Uint8Array(7)
    writeU32(bytes, 3, 0xfedcba98)
    expect([...bytes]).toEqual([0, 0, 0, 0x98, 0xba, 0xdc, 0xfe])
    expect(readU32(bytes, 3)).toBe(0xfedcba98)
  })
})

describe('sequence arithmetic', () => {
  test('wraps at 2^32', () => {
    expect(seqAdd(2 ** 32 - 1, 1)).toBe(0)
    expect(seqAdd(0, -1)).toBe(2 ** 32 - 1)
    expect(seqDiff(3, 2 ** 32 - 5)).toBe(8)
    expect(seqDiff(2 ** 32 - 5, 3)).toBe(-8)
  })
})

describe('SACK area', () => {
  test('is the whole rest without a data offset', () => {
    expect(sackArea(HEADER_BYTES + 27, 0)).toEqual([HEADER_BYTES, 3])
  })

  test('ends at the data offset when payload follows', () => {
    expect(sackArea(HEADER_BYTES + 100, 16)).toEqual([HEADER_BYTES, 2])
  })

  test('ignores a data offset that lies beyond the packet', () => {
    expect(sackArea(HEADER_BYTES + 16, 200)).toEqual([HEADER_BYTES, 2])
  })

  test('keeps only ranges that ascend within what is outstanding', () => {
    const una = 2 ** 32 - 2
    const nxt = 10
    const valid = (start: number, end: number): boolean => isSackRangeValid(start, end, una, nxt)
    expect([
      valid(una, 1),
      valid(2, 10),
      valid(2, 2),
      valid(3, 2),
      valid(seqAdd(una, -1), 2),
      valid(10, 11),
      valid(5, 11)
    ]).toEqual([true, true, false, false, false, false, false])
  })

  test('flag is its own bit', () => {
    expect(FLAG_SACK & (FLAG_DATA | FLAG_END)).toBe(0)
  })
})
