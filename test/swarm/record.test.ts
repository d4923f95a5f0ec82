// Records as bytes, and which of what they say a reader believes.
import { describe, expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import {
  decodeRecord,
  encodeRecord,
  judgeInfo,
  MAX_RECORD_BYTES,
  usableInfos
} from '../../src/swarm/record.ts'
import { BLOCKS, infoOf, MODEL } from './world.ts'

const peer = new Uint8Array(32).fill(1)
const now = 1_900_000_000_000
const wanted = { peer, model: MODEL, blockCount: BLOCKS, now }
const good = infoOf(3, 9, { peer, issuedAt: now - 1000, expiresAt: now + 59_000 })

describe('encodeRecord()', () => {
  test('writes what decodeRecord() reads', () => {
    expect(decodeRecord(encodeRecord([good]))).toEqual([good])
    expect(decodeRecord(encodeRecord([]))).toEqual([])
  })

  test('leaves round trips out until the record fits', () => {
    const pings = Array.from({ length: 16 }, (_, i) => ({ peer, ms: i }))
    const spans = Array.from({ length: 4 }, () => ({ ...good, pings }))
    const bytes = encodeRecord(spans)
    const kept = decodeRecord(bytes)[0]?.pings ?? []
    expect(bytes.byteLength).toBeLessThanOrEqual(MAX_RECORD_BYTES)
    expect(bytes.byteLength + spans.length * 36).toBeGreaterThan(MAX_RECORD_BYTES)
    expect(kept).toEqual(pings.slice(0, kept.length))
  })

  test('refuses more spans than fit', () => {
    expect(() => encodeRecord(Array.from({ length: 12 }, () => good))).toThrow(AppError)
  })
})

describe('judgeInfo()', () => {
  const kind = (more: object, by: object = {}): string =>
    judgeInfo({ ...good, ...more }, { ...wanted, ...by }).kind

  test('takes a good record, with a minute for clocks that differ', () => {
    expect(judgeInfo(good, wanted)).toEqual({
      kind: 'usable',
      info: { ...good, expiresAt: good.expiresAt + 60_000 }
    })
    expect(kind({ expiresAt: now - 59_000, issuedAt: now - 119_000 })).toBe('usable')
    expect(kind({ issuedAt: now + 300_000, expiresAt: now + 360_000 })).toBe('usable')
  })

  test('takes any model when none is named, if its blocks make sense', () => {
    const whatever = { model: undefined, blockCount: undefined }
    expect(kind({ model: new Uint8Array(32), blockCount: 9, start: 0, end: 9 }, whatever)).toBe(
      'usable'
    )
    expect(kind({ blockCount: 9, start: 0, end: 10 }, whatever)).toBe('absurd')
    expect(kind({ peer: new Uint8Array(32) }, whatever)).toBe('foreign')
  })

  test('tells what is wrong with a bad one', () => {
    expect({
      foreign: kind({ peer: new Uint8Array(32) }),
      other: kind({ model: new Uint8Array(32) }),
      expired: kind({ issuedAt: now - 121_000, expiresAt: now - 61_000 }),
      immortal: kind({ issuedAt: now - 400_000, expiresAt: Number.MAX_SAFE_INTEGER }),
      future: kind({ issuedAt: now + 700_000, expiresAt: now + 760_000 }),
      backwards: kind({ issuedAt: now, expiresAt: now - 1 }),
      deeper: kind({ blockCount: BLOCKS + 1 }),
      absurd: kind({ blockCount: 4096, end: 4096 })
    }).toEqual({
      foreign: 'foreign',
      other: 'other',
      expired: 'expired',
      immortal: 'expired',
      future: 'absurd',
      backwards: 'absurd',
      deeper: 'absurd',
      absurd: 'absurd'
    })
  })
})

describe('usableInfos()', () => {
  test('takes the good spans of a record and names what it leaves', () => {
    const why: string[] = []
    const record = encodeRecord([good, { ...good, model: new Uint8Array(32) }])
    const infos = usableInfos(record, wanted, (text) => why.push(text))
    expect(infos.map(({ start, end }) => [start, end])).toEqual([[3, 9]])
    expect(why).toEqual(['other'])
  })

  test('takes nothing of bytes that are no record', () => {
    const why: string[] = []
    const bad = [
      new Uint8Array(0),
      new Uint8Array(MAX_RECORD_BYTES + 1),
      new Uint8Array([9, 0, 0]),
      encodeRecord([good]).subarray(0, 90)
    ]
    const taken = bad.map((bytes) => usableInfos(bytes, wanted, (text) => why.push(text)).length)
    expect([taken, why.length]).toEqual([[0, 0, 0, 0], 4])
  })

  test('lives through 20,000 spoiled records', () => {
    const random = seededRandom(11)
    const bytes = encodeRecord([good])
    for (let round = 0; round < 20_000; round++) {
      const spoiled = bytes.slice(0, random.below(bytes.length + 1))
      for (let i = 0; i < 3; i++) spoiled[random.below(spoiled.length)] = random.below(256)
      for (const info of usableInfos(spoiled, wanted)) {
        expect(info.start < info.end && info.end <= BLOCKS).toBe(true)
      }
    }
  })
})
