// Memory that is given back: what shows a file is read again, nothing else changes.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { dropView, trimHeap } from '../../src/base/files/mapped-pages.ts'
import { tempFolder } from '../support/temp-folder.ts'

function mappedKib(): number {
  const text = readFileSync('/proc/self/status', 'utf8')
  return Number(/^RssFile:\s+(\d+)/m.exec(text)?.[1])
}

test.if(process.platform === 'linux')(
  'dropView() gives back the pages of a mapped file, which is still there to be read',
  async () => {
    await using folder = await tempFolder()
    const content = new Uint8Array(2 ** 25).fill(7)
    const view = Bun.mmap(await folder.write('file', content), { shared: false })
    expect(Buffer.compare(view, content)).toBe(0)
    const before = mappedKib()
    dropView(view)
    expect(before - mappedKib()).toBeGreaterThan(2 ** 14)
    expect(Buffer.compare(view, content)).toBe(0)
  }
)

test('trimHeap() harms nobody, nor does dropping nothing', () => {
  const values = Float64Array.from({ length: 1000 }, (_, i) => i)
  trimHeap()
  dropView(new Uint8Array(0))
  expect(values.reduce((sum, value) => sum + value, 0)).toBe(499_500)
})
