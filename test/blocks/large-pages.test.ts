import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { useLargePages } from '../../src/blocks/weights/large-pages.ts'

const MIB = 1024 * 1024

/** Linux moves pages when asked since 6.1, where its settings do not forbid it. */
function canMove(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  const settings = '/sys/kernel/mm/transparent_hugepage'
  const isAllowed = !readFileSync(`${settings}/enabled`, 'latin1').includes('[never]')
  const sizeBytes = Number(readFileSync(`${settings}/hpage_pmd_size`, 'latin1'))
  return isAllowed && sizeBytes === 2 * MIB && (major > 6 || (major === 6 && minor >= 1))
}

/** KiB of this process in large pages. */
function inLargePages(): number {
  const text = readFileSync('/proc/self/smaps_rollup', 'latin1')
  return Number(/AnonHugePages:\s+(\d+)/.exec(text)![1])
}

test.skipIf(process.platform !== 'linux')(
  'useLargePages() moves memory in use into large pages and leaves what it holds',
  () => {
    const memory = new Uint32Array((32 * MIB) / 4)
    for (let i = 0; i < memory.length; i++) memory[i] = Math.imul(i, 2654435761)
    const before = inLargePages()
    const moved = [...useLargePages()].reduce((sum, bytes) => sum + bytes, 0)
    if (canMove()) expect(moved).toBeGreaterThan(16 * MIB)
    if (canMove()) expect((inLargePages() - before) * 1024).toBeGreaterThan(16 * MIB)
    const wrong = memory.findIndex((value, i) => value !== Math.imul(i, 2654435761) >>> 0)
    expect(wrong).toBe(-1)
  }
)

test.skipIf(process.platform !== 'linux')(
  'useLargePages() takes no memory for what was reserved and never used',
  () => {
    const reserved = new Uint8Array(256 * MIB)
    reserved[0] = 1
    const rss = process.memoryUsage.rss()
    for (const _ of useLargePages());
    expect(process.memoryUsage.rss() - rss).toBeLessThan(64 * MIB)
    expect(reserved[0]).toBe(1)
  }
)
