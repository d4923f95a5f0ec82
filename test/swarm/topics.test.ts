// The grid of cells and its topics: pinned, because every peer must compute the same.
import { describe, expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { cellsOf, cellSize, modelsTopic, topicOf, wordTopic } from '../../src/swarm/topics.ts'

const model = new Uint8Array(32).fill(7)

describe('cellSize()', () => {
  test('makes at most 8 cells, of at least 4 blocks each', () => {
    const sizes = [1, 5, 30, 32, 33, 64, 80, 126, 4096].map(cellSize)
    expect(sizes).toEqual([4, 4, 4, 4, 8, 8, 16, 16, 512])
  })
})

describe('cellsOf()', () => {
  test('gives every cell that a span touches', () => {
    expect(cellsOf(10, 20, 30)).toEqual([
      { start: 8, end: 12 },
      { start: 12, end: 16 },
      { start: 16, end: 20 }
    ])
    expect(cellsOf(29, 30, 30)).toEqual([{ start: 28, end: 30 }])
  })

  test('covers every model without gaps', () => {
    for (let blockCount = 1; blockCount <= 200; blockCount++) {
      const cells = cellsOf(0, blockCount, blockCount)
      expect(cells.length).toBeLessThanOrEqual(8)
      expect(cells[0]?.start).toBe(0)
      expect(cells.at(-1)?.end).toBe(blockCount)
      cells.slice(1).forEach((cell, i) => expect(cell.start).toBe(cells[i]?.end ?? -1))
    }
  })

  test('refuses what is no span', () => {
    for (const [first, last] of [
      [-1, 2],
      [3, 3],
      [0, 31]
    ] as const) {
      expect(() => cellsOf(first, last, 30)).toThrow(RangeError)
    }
  })
})

describe('topicOf()', () => {
  test('is pinned', () => {
    // hashlib.blake2b(b'petals\x01' + pack('<II', 8, 12) + 32 * b'\x07', digest_size=32,
    // key=bytes(32))
    expect(toHex(topicOf(model, { start: 8, end: 12 }))).toBe(
      '4fe1a9811813c089d9cef883820c1e22b440cd09114423fda6cce672ba955d32'
    )
  })

  test('differs by model, cell and secret', () => {
    const cell = { start: 8, end: 12 }
    const topics = [
      topicOf(model, cell),
      topicOf(new Uint8Array(32).fill(8), cell),
      topicOf(model, { start: 8, end: 16 }),
      topicOf(model, { start: 4, end: 12 }),
      topicOf(model, cell, new Uint8Array(32).fill(1)),
      topicOf(model, cell, new Uint8Array(32).fill(2))
    ]
    expect(new Set(topics.map(toHex)).size).toBe(topics.length)
  })
})

describe('wordTopic()', () => {
  test('is pinned, and keyed by the swarm', () => {
    // hashlib.blake2b(b'petals\nword-1\nsome/model', digest_size=32, key=bytes(32))
    expect(toHex(wordTopic('some/model'))).toBe(
      '7b95f89e2dc9327d91ef387fc982132b1256cab97e72130853641b0d1b2ddb11'
    )
    expect(toHex(wordTopic('some/model', new Uint8Array(32).fill(9)))).toBe(
      '40e999795006c2c48e2ccfedbcbcef875e1935c89e9e57fa8e84de1de7133ed3'
    )
  })
})

describe('modelsTopic()', () => {
  test('is pinned, and keyed by the swarm', () => {
    // hashlib.blake2b(b'petals\nmodels-1', digest_size=32, key=bytes(32))
    expect(toHex(modelsTopic())).toBe(
      '9e6eb2feb4b5729a3153b407a081904c794802f338b54abb8c260047b53504a3'
    )
    expect(toHex(modelsTopic(new Uint8Array(32).fill(9)))).not.toBe(toHex(modelsTopic()))
  })
})
