// bun scripts/bench/bench-load.ts [--model FILE] [--blocks 0:4] [--quant native,int8,f32]
//   [--runs 3]
// Time and memory of loading blocks: of a first start, which converts, and of a second, which maps
// what the first has kept. Each start is a process of its own, whose memory is read from the system
// while it loads. Linux only. Without --model: random weights in the shape of TinyLlama-1.1B.
import type { BlockSpan } from '../../src/base/block-span.ts'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { createOnnx } from '../../src/blocks/create-backend.ts'
import { onnxBackend } from '../../src/blocks/onnx/onnx-backend.ts'
import { Engine } from '../../src/blocks/engine/engine.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelLocation } from '../../src/model/types.ts'
import { randomModelFile } from './parts/random-model.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    model: { type: 'string' },
    blocks: { type: 'string', default: '0:4' },
    quant: { type: 'string', default: 'native,int8,f32' },
    runs: { type: 'string', default: '3' },
    config: { type: 'string', default: '{}' },
    child: { type: 'string' }
  }
})

interface Task extends BlockSpan {
  location: ModelLocation
  quant: Quant
  cacheDir: string
}

interface Memory {
  /** Largest resident size, MiB. */
  peak: number
  anonymous: number
  mapped: number
}

interface Start {
  ms: number
  weights: number
  /** Before loading. */
  before: Memory
  after: Memory
  /** Most anonymous memory that was seen while loading, MiB. */
  anonymousPeak: number
}

function memoryOf(pid: number | 'self'): Memory {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024
  return { peak: of('VmHWM'), anonymous: of('RssAnon'), mapped: of('RssFile') + of('RssShmem') }
}

if (values.child !== undefined) {
  const task = JSON.parse(values.child) as Task
  const memoryBytes = 2 ** 36
  const made = createOnnx({
    threads: 2,
    device: 'cpu',
    deviceId: 0,
    memoryBytes,
    libraryDir: undefined,
    scratchDir: undefined,
    keep: { cacheDir: task.cacheDir }
  })
  const config = JSON.parse(values.config) as Record<string, string>
  const backend = { ...made, settings: { ...made.settings, config } }
  const engine = new Engine(onnxBackend(backend), memoryBytes)
  Bun.gc(true)
  const before = memoryOf('self')
  process.send?.('loading')
  const began = performance.now()
  const { weightBytes } = await engine.loadSpan(
    task,
    () => new Promise((done) => setImmediate(done))
  )
  const ms = performance.now() - began
  process.send?.({ ms, weights: weightBytes / 2 ** 20, before, after: memoryOf('self') })
  process.exit(0)
}

async function load(task: Task): Promise<Start> {
  const answer = Promise.withResolvers<Omit<Start, 'anonymousPeak'>>()
  let isLoading = false
  const child = Bun.spawn(
    [
      process.execPath,
      import.meta.path,
      '--child',
      JSON.stringify(task),
      '--config',
      values.config
    ],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      ipc(message) {
        if (message === 'loading') isLoading = true
        else answer.resolve(message as Start)
      }
    }
  )
  let anonymousPeak = 0
  const watch = setInterval(() => {
    try {
      if (isLoading) anonymousPeak = Math.max(anonymousPeak, memoryOf(child.pid).anonymous)
    } catch {
      // it has ended
    }
  }, 2)
  const result = await answer.promise
  clearInterval(watch)
  await child.exited
  return { ...result, anonymousPeak: Math.max(anonymousPeak, result.after.anonymous) }
}

const path = values.model ?? randomModelFile(join(import.meta.dir, '..', '..', '.cache', 'random'))
const [start = 0, end = 1] = values.blocks.split(':').map(Number)
const model = await openModel({ kind: 'gguf', paths: [path] })
console.log(
  `${model.config.name}, ${(statSync(path).size / 2 ** 20).toFixed(0)} MiB, blocks ${values.blocks}; MiB`
)
console.log(
  'quant   start      ms  weights  anonymous: peak  after  mapped after  largest resident'
)
for (const quant of values.quant.split(',') as Quant[]) {
  for (let run = 0; run < Number(values.runs); run++) {
    const cacheDir = mkdtempSync(join(tmpdir(), 'petals-load-'))
    try {
      const location = { kind: 'gguf' as const, paths: [path], contentId: 'ab'.repeat(32) }
      for (const kind of ['first', 'second']) {
        const { ms, weights, before, after, anonymousPeak } = await load({
          location,
          start,
          end,
          quant,
          cacheDir
        })
        const more = (value: number, than: number, width: number): string =>
          (value - than).toFixed(0).padStart(width)
        console.log(
          `${quant.padEnd(7)} ${kind.padEnd(6)} ${ms.toFixed(0).padStart(6)} ${weights.toFixed(0).padStart(8)}` +
            `${more(anonymousPeak, before.anonymous, 17)}${more(after.anonymous, before.anonymous, 7)}` +
            `${more(after.mapped, before.mapped, 14)}${more(after.peak, before.anonymous + before.mapped, 18)}`
        )
      }
    } finally {
      rmSync(cacheDir, { recursive: true, force: true })
    }
  }
}
