// Loads one block in a process of its own and tells of the most memory that this took. MiB over
// what the process had before.
import { readFileSync } from 'node:fs'
import { createBackend } from '../../../src/blocks/create-backend.ts'
import { MemoryBudget } from '../../../src/blocks/memory-budget.ts'
import type { Quant } from '../../../src/blocks/types.ts'
import { openModel } from '../../../src/model/open-model.ts'

export interface LoadMemory {
  /** While it was loaded. */
  readonly most: number
  /** Once all is done. */
  readonly held: number
}

const [path = '', quant, cacheDir = ''] = process.argv.slice(2)

function memory(key: 'VmHWM' | 'VmRSS'): number {
  const text = readFileSync('/proc/self/status', 'utf8')
  return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024
}

const memoryBytes = 2 ** 34
using backend = createBackend({
  threads: 1,
  device: 'cpu',
  deviceId: 0,
  memoryBytes,
  libraryDir: undefined,
  scratchDir: undefined,
  keep: { cacheDir }
})
const model = await openModel({ kind: 'gguf', paths: [path], contentId: 'ab'.repeat(32) })
const span = { start: 0, end: 1, quant: quant as Quant, checkpoint: () => Promise.resolve() }
Bun.gc(true)
const before = memory('VmRSS')
using _loaded = await backend.loadSpan(model, span, new MemoryBudget(memoryBytes))
const most = memory('VmHWM') - before
Bun.gc(true)
const answer: LoadMemory = { most, held: memory('VmRSS') - before }
process.stdout.write(JSON.stringify(answer))
