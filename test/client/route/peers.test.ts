import { expect, test } from 'bun:test'
import { toHex } from '../../../src/base/bytes.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import type { ServerInfo } from '../../../src/wire/types.ts'

const key = new Uint8Array(32).fill(1)
const other = new Uint8Array(32).fill(2)
const info: ServerInfo = {
  peer: key,
  model: new Uint8Array(32),
  modelName: 'small',
  blockCount: 8,
  hiddenSize: 16,
  start: 2,
  end: 6,
  quant: 'f32',
  throughput: 500,
  prefillThroughput: 0,
  maxTokens: 4096,
  freeTokens: 1000,
  version: '0',
  draining: false,
  issuedAt: 0,
  expiresAt: 1000,
  pings: [{ peer: other, ms: 12 }]
}

test('candidate() takes what a server claims until something was observed', () => {
  const book = new PeerBook({ unknownRttMs: 200 })
  expect(book.candidate(info)).toEqual({
    peer: toHex(key),
    start: 2,
    end: 6,
    blockMs: 2,
    queueMs: 0,
    rttMs: 200,
    freeTokens: 1000,
    pings: new Map([[toHex(other), 12]])
  })
})

test('candidate() believes observations over claims, the new ones a little more each time', () => {
  const book = new PeerBook()
  const step = (computeMs: number, queueMs: number): void =>
    book.noteStep(toHex(key), 4, { queue: 0, freeTokens: 0, computeMs, queueMs })
  step(40, 0)
  step(80, 10)
  book.noteRtt(toHex(key), 30)
  const { blockMs, queueMs, rttMs } = book.candidate(info)
  expect({ blockMs, queueMs, rttMs }).toEqual({ blockMs: 12, queueMs: 2, rttMs: 30 })
})

test('a server that was gone is asked again once it publishes anew, one that lied is not', () => {
  const book = new PeerBook()
  const [gone, liar] = [key, other].map((peer) => ({ ...info, peer }))
  if (!gone || !liar) throw new Error('There are two')
  book.avoid(toHex(gone.peer), 30_000, 1_000_000)
  book.avoid(toHex(liar.peer), 120_000)
  book.avoid(toHex(liar.peer), 30_000, 1_000_000)
  expect(book.avoidedInOrder(0)).toEqual([toHex(gone.peer), toHex(liar.peer)])
  for (const info of [gone, liar]) book.noteInfo({ ...info, issuedAt: 999_999 })
  expect(book.avoidedInOrder(0).length).toBe(2)
  for (const info of [gone, liar]) book.noteInfo({ ...info, issuedAt: 1_000_001 })
  expect(book.avoidedInOrder(0)).toEqual([toHex(liar.peer)])
})

test('candidate() leaves out blocks that are kept here, and no network stands before those of here', () => {
  const book = new PeerBook()
  const spanOf = (start: number, end: number): [number, number] => {
    book.noteOwn({ kept: { start, end }, peers: new Set([toHex(other)]) })
    const candidate = book.candidate(info)
    return [candidate.start, candidate.end]
  }
  const kept = [
    [0, 2],
    [0, 3],
    [3, 4],
    [4, 5],
    [5, 8],
    [6, 8],
    [0, 8]
  ] as const
  expect(kept.map(([start, end]) => spanOf(start, end))).toEqual([
    [2, 6],
    [3, 6],
    [4, 6],
    [2, 4],
    [2, 5],
    [2, 6],
    [0, 0]
  ])
  const { start, end, rttMs } = book.candidate({ ...info, peer: other })
  expect({ start, end, rttMs }).toEqual({ start: 2, end: 6, rttMs: 0 })
})

test('what is computed here is avoided under all its keys', () => {
  const book = new PeerBook()
  const peers = [toHex(key), toHex(other)]
  book.noteOwn({ kept: undefined, peers: new Set(peers) })
  book.avoid(toHex(other), 1000)
  expect([...book.avoided(0)].sort()).toEqual(peers)
})
