import { expect, test } from 'bun:test'
import { chunkRows } from '../../../src/client/session/chunk-rows.ts'

/**
 * Rows' time that a prompt takes through a chain, in chunks of `count`; a chunk costs a pass of 5
 * rows.
 */
function timeOf(rows: number, servers: number, count: number): number {
  return (Math.ceil(rows / count) + servers - 1) * (count + 5)
}

test('chunkRows() leaves chunks large where one server computes them all', () => {
  expect(chunkRows(512, 1, 128)).toBe(128)
})

test('chunkRows() makes chunks smaller the more servers wait for the first one', () => {
  const sizes = [2, 4, 8].map((servers) => chunkRows(2048, servers, 128))
  expect(sizes.toSorted((a, b) => b - a)).toEqual(sizes)
  expect(sizes[2]).toBeLessThan(sizes[0]!)
})

test('chunkRows() cuts a short prompt into equal parts, and a few rows not at all', () => {
  expect([chunkRows(96, 4, 128), chunkRows(40, 4, 128), chunkRows(1, 4, 128)]).toEqual([32, 40, 1])
})

test('chunkRows() never asks for more rows than a step may have, nor for none', () => {
  expect([chunkRows(100_000, 2, 128), chunkRows(100_000, 2, 16), chunkRows(3, 2, 1)]).toEqual([
    128, 16, 1
  ])
})

test('chunkRows() is within a twentieth of the best size of any', () => {
  for (const rows of [200, 512, 2000]) {
    for (const servers of [2, 3, 4, 8]) {
      const sizes = Array.from({ length: 97 }, (_, i) => 32 + i)
      const best = Math.min(...sizes.map((count) => timeOf(rows, servers, count)))
      const chosen = timeOf(rows, servers, chunkRows(rows, servers, 128))
      expect(chosen).toBeLessThanOrEqual(best * 1.05)
    }
  }
})
