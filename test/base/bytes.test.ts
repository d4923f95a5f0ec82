// Bytes as people and programs read them.
import { expect, test } from 'bun:test'
import { bytesOf, formatBytes, toHex } from '../../src/base/bytes.ts'

test('formatBytes() counts in units of 1024 with one decimal', () => {
  const sizes = [0, 1023, 1024, 98_362_432, 1024 ** 4 * 3000]
  expect(sizes.map(formatBytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '93.8 MiB', '3000.0 TiB'])
})

test('toHex() and bytesOf() see a view’s own part of its memory', () => {
  const memory = new Uint16Array([0x0102, 0x0304, 0x0506])
  const view = memory.subarray(1, 2)
  expect(toHex(bytesOf(view))).toBe('0403')
  bytesOf(view)[0] = 0xff
  expect(memory[1]).toBe(0x03ff)
})
