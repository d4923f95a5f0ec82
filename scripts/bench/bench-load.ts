// bun scripts/bench/bench-load.ts [--model FILE] [--blocks 0:4] [--quant native,int8,f32]
//   [--runs 3] [--threads 2]
// Time and memory of loading blocks for our kernels: of a first start, which converts; of a second,
// which maps what the first has kept; and of one whose kept files are no longer in the system's
// cache. Each start is a process of its own. `read` is what reading the kept files takes, once
// more and without looking at them; `step` is the first row, whose page faults are told, `next` the
// one after it. Linux only. Without --model: random weights in the shape of TinyLlama-1.1B.
import type { BlockSpan } from '../../src/base/block-span.ts'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { createBackend } from '../../src/blocks/create-backend.ts'
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
    threads: { type: 'string', default: '2' },
    child: { type: 'string' }
  }
})

interface Task extends BlockSpan {
  location: ModelLocation
  quant: Quant
  cacheDir: string
  threads: number
  hiddenSize: number
}

interface Memory {
  /** Largest resident size, MiB. */
  peak: number
  anonymous: number
  mapped: number
}

/** Times in ms. */
interface Times {
  /** From the process's start until the engine is there: programs and kernels are loaded. */
  engine: number
  load: number
  read: number
  step: number
  next: number
}

interface Faults {
  minor: number
  major: number
}

interface Start {
  times: Times
  /** MiB. */
  weights: number
  /** Before loading. */
  before: Memory
  after: Memory
  loading: Faults
  stepping: Faults
  /** Most anonymous memory that was seen while loading, MiB. */
  anonymousPeak: number
}

function memoryOf(pid: number | 'self'): Memory {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (key: string): number =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024
  return { peak: of('VmHWM'), anonymous: of('RssAnon'), mapped: of('RssFile') + of('RssShmem') }
}

function faultsSince({ minor, major }: Faults = { minor: 0, major: 0 }): Faults {
  const { minorPageFault, majorPageFault } = process.resourceUsage()
  return { minor: minorPageFault - minor, major: majorPageFault - major }
}

/** Files of converted weights. */
function keptFiles(cacheDir: string): string[] {
  const names = readdirSync(cacheDir, { recursive: true, encoding: 'utf8' })
  return names.map((name) => join(cacheDir, name)).filter((path) => statSync(path).isFile())
}

/** What only reading them takes, ms. */
function readAll(paths: readonly string[]): number {
  const piece = new Uint8Array(2 ** 20)
  const began = performance.now()
  for (const path of paths) {
    const file = openSync(path, 'r')
    while (readSync(file, piece, 0, piece.byteLength, null) > 0);
    closeSync(file)
  }
  return performance.now() - began
}

if (values.child !== undefined) {
  const task = JSON.parse(values.child) as Task
  const memoryBytes = 2 ** 36
  const backend = createBackend({
    threads: task.threads,
    device: 'cpu',
    deviceId: 0,
    memoryBytes,
    libraryDir: undefined,
    scratchDir: undefined,
    keep: { cacheDir: task.cacheDir }
  })
  const engine = new Engine(backend, memoryBytes)
  const started = performance.now()
  Bun.gc(true)
  const before = memoryOf('self')
  const faultsBefore = faultsSince()
  process.send?.('loading')
  const began = performance.now()
  const { span, weightBytes } = await engine.loadSpan(
    task,
    () => new Promise((done) => setImmediate(done))
  )
  const load = performance.now() - began
  const loading = faultsSince(faultsBefore)
  const session = engine.openSession(span)
  const stop = { word: new Int32Array(1) }
  const step = (start: number): number => {
    const hidden = new Float32Array(task.hiddenSize).fill(0.5)
    const at = performance.now()
    engine.run([{ session, start, end: start + 1, hidden }], stop)
    return performance.now() - at
  }
  const faultsLoaded = faultsSince()
  const first = step(0)
  const stepping = faultsSince(faultsLoaded)
  const next = step(1)
  const after = memoryOf('self')
  const read = readAll(keptFiles(task.cacheDir))
  const times: Times = { engine: started, load, read, step: first, next }
  process.send?.({ times, weights: weightBytes / 2 ** 20, before, after, loading, stepping })
  process.exit(0)
}

async function load(task: Task): Promise<Start> {
  const answer = Promise.withResolvers<Omit<Start, 'anonymousPeak'>>()
  let isLoading = false
  const child = Bun.spawn([process.execPath, import.meta.path, '--child', JSON.stringify(task)], {
    stdio: ['ignore', 'inherit', 'inherit'],
    ipc(message) {
      if (message === 'loading') isLoading = true
      else answer.resolve(message as Start)
    }
  })
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

/** Takes files out of the system's cache. */
async function forget(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const words = ['dd', `of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0']
    await Bun.spawn(words, { stdio: ['ignore', 'ignore', 'ignore'] }).exited
  }
}

const path = values.model ?? randomModelFile(join(import.meta.dir, '..', '..', '.cache', 'random'))
const [start = 0, end = 1] = values.blocks.split(':').map(Number)
const model = await openModel({ kind: 'gguf', paths: [path] })
console.log(
  `${model.config.name}, ${(statSync(path).size / 2 ** 20).toFixed(0)} MiB, blocks ${values.blocks}; ms and MiB`
)
console.log(
  'quant   start   engine   load   read   step   next  faults: load  step  major  weights  ' +
    'anonymous: peak  after  mapped after  largest resident'
)
for (const quant of values.quant.split(',') as Quant[]) {
  for (let run = 0; run < Number(values.runs); run++) {
    const cacheDir = mkdtempSync(join(tmpdir(), 'petals-load-'))
    try {
      const location = { kind: 'gguf' as const, paths: [path], contentId: 'ab'.repeat(32) }
      const { hiddenSize } = model.config
      const threads = Number(values.threads)
      for (const kind of ['first', 'second', 'cold']) {
        if (kind === 'cold') await forget(keptFiles(cacheDir))
        const found = await load({ location, start, end, quant, cacheDir, threads, hiddenSize })
        const { times, weights, before, after, loading, stepping, anonymousPeak } = found
        const columns: readonly (readonly [number, number])[] = [
          [times.engine, 8],
          [times.load, 7],
          [times.read, 7],
          [times.step, 7],
          [times.next, 7],
          [loading.minor, 14],
          [stepping.minor, 6],
          [loading.major + stepping.major, 7],
          [weights, 9],
          [anonymousPeak - before.anonymous, 17],
          [after.anonymous - before.anonymous, 7],
          [after.mapped - before.mapped, 14],
          [after.peak - before.anonymous - before.mapped, 18]
        ]
        const cells = columns.map(([value, width]) => value.toFixed(0).padStart(width)).join('')
        console.log(`${quant.padEnd(7)} ${kind.padEnd(6)}${cells}`)
      }
    } finally {
      rmSync(cacheDir, { recursive: true, force: true })
    }
  }
}
model.close()
