// Messages about weights that no honest peer sends: refused before anything is made of them.
import { describe, expect, test } from 'bun:test'
import { catalogueCodec, giveCodec, holdingCodec } from '../../src/wire/codec/weights.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/codec/encode.ts'
import type { Codec } from '../../src/wire/codec/fields.ts'
import { LIMITS } from '../../src/wire/protocol.ts'
import { seededRandom } from '../../src/base/random.ts'
import { samples } from './samples.ts'

const codeOf = (codec: Codec<unknown>, bytes: Uint8Array): string => {
  try {
    decodeMessage(codec, bytes)
    return 'nothing'
  } catch (error) {
    return (error as { code: string }).code
  }
}

const holding = {
  sizeBytes: 70_000,
  chunkBytes: 4096,
  isWhole: false,
  held: new Uint8Array(3),
  vouched: new Uint8Array(3)
}

describe('holdingCodec', () => {
  test('refuses bits that are not those of the chunks', () => {
    const bad = [
      { ...holding, held: new Uint8Array(2) },
      { ...holding, vouched: new Uint8Array(4) },
      { ...holding, chunkBytes: 0 },
      { ...holding, isWhole: true },
      { ...holding, sizeBytes: 2 ** 40, chunkBytes: 1, held: new Uint8Array(3) }
    ]
    for (const each of bad) {
      const bytes = encodeMessage(holdingCodec, each)
      expect(codeOf(holdingCodec as Codec<unknown>, bytes)).toBe('PROTOCOL')
    }
    expect(decodeMessage(holdingCodec, encodeMessage(holdingCodec, holding))).toEqual(holding)
  })

  test('refuses sizes over the limits', () => {
    for (const size of [LIMITS.fileBytes + 1, Number.MAX_SAFE_INTEGER]) {
      expect(() => encodeMessage(holdingCodec, { ...holding, sizeBytes: size })).toThrow(
        expect.objectContaining({ code: 'LIMIT' })
      )
    }
  })
})

test('a piece over the limit is refused', () => {
  const give = { request: 1, left: 0, data: new Uint8Array(LIMITS.giveBytes + 1) }
  expect(() => encodeMessage(giveCodec, give)).toThrow(expect.objectContaining({ code: 'LIMIT' }))
  const bytes = encodeMessage(giveCodec, { ...give, data: new Uint8Array(LIMITS.giveBytes) })
  // Its length, one more than may be.
  const at = bytes.indexOf(0xfe)
  new DataView(bytes.buffer).setUint32(at + 1, LIMITS.giveBytes + 1, true)
  expect(codeOf(giveCodec as Codec<unknown>, bytes)).toBe('LIMIT')
})

test('a catalogue cannot promise more files than it has bytes, nor more than the limit', () => {
  const empty = { model: new Uint8Array(32), kind: 'gguf', small: [], weights: [] } as const
  const bytes = encodeMessage(catalogueCodec, empty)
  for (const [count, code] of [
    [200, 'PROTOCOL'],
    [252, 'PROTOCOL']
  ] as const) {
    const cut = bytes.slice()
    cut[cut.length - 1] = count
    expect(codeOf(catalogueCodec as Codec<unknown>, cut)).toBe(code)
  }
  const small = bytes.slice()
  small[small.length - 2] = LIMITS.smallFiles + 1
  expect(codeOf(catalogueCodec as Codec<unknown>, small)).toBe('LIMIT')
})

test('whatever the bytes, decoding ends with a message or an AppError', () => {
  const random = seededRandom(11)
  const about = samples.filter(([name]) => ['catalogue', 'holding', 'want', 'give'].includes(name))
  expect(about.length).toBe(4)
  for (const [, codec, value] of about) {
    const honest = encodeMessage(codec, value)
    for (let i = 0; i < 2000; i++) {
      const bytes = honest.slice(0, 1 + random.below(honest.length))
      for (let flips = random.below(4); flips >= 0; flips--) {
        bytes[random.below(bytes.length)] = random.below(256)
      }
      expect(['nothing', 'PROTOCOL', 'LIMIT']).toContain(codeOf(codec, bytes))
    }
  }
})
