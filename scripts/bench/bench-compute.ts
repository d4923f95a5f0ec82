// bun scripts/bench/bench-compute.ts [--model smollm2-135m] [--threads 2] [--runs 60]
// The engine by itself: a step against capacity of its KV memory and against tokens held, every
// quantisation, several rows at once. Shows that the cost of a step does not grow with capacity.
// Nothing is asserted.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { formatBytes } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/random.ts'
import { createBackend } from '../../src/blocks/create-backend.ts'
import { Engine } from '../../src/blocks/engine/engine.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { embedTokens } from '../../src/model/embed.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '60' }
  }
})
const runs = Number(values.runs)
const cacheDir = join(import.meta.dir, '..', '..', '.cache', 'petals')
const location = await resolveModel(values.model, { cacheDir })
const model = await openModel(location)
const { hiddenSize, blockCount, vocabSize, contextLength } = model.config
const random = seededRandom(1)
const tokens = (count: number): Float32Array =>
  embedTokens(
    model,
    Array.from({ length: count }, () => random.below(vocabSize))
  )
const memoryBytes = 2 ** 36
const NEVER = { word: new Int32Array(1) }
let rowsAtOnce = 1

function newEngine(chunkRows?: number): Engine {
  const backend = createBackend({
    threads: Number(values.threads),
    device: 'cpu',
    deviceId: 0,
    memoryBytes,
    libraryDir: undefined,
    scratchDir: undefined
  })
  rowsAtOnce = chunkRows ?? backend.chunkRows
  return new Engine(backend, memoryBytes)
}

async function load(engine: Engine, quant: Quant): Promise<number> {
  const range = { location, start: 0, end: blockCount, quant }
  const { span } = await engine.loadSpan(range, async () => {})
  return span
}

/** One step; its ms. */
function step(engine: Engine, session: number, start: number, hidden: Float32Array): number {
  const count = hidden.length / hiddenSize
  const began = systemClock.now()
  for (let row = 0; row < count; row += rowsAtOnce) {
    const piece = hidden.slice(row * hiddenSize, (row + rowsAtOnce) * hiddenSize)
    engine.run([{ session, start: start + row, end: start + count, hidden: piece }], NEVER)
  }
  return systemClock.now() - began
}

/**
 * Median ms of single-token steps of several sessions in turn, so that noise affects all of them.
 */
function decodeMedians(engine: Engine, sessions: readonly { id: number; at: number }[]): number[] {
  const times = sessions.map(() => [] as number[])
  for (let run = 0; run < runs; run++) {
    for (const [i, { id, at }] of sessions.entries()) {
      times[i]?.push(step(engine, id, at, tokens(1)))
    }
  }
  return times.map(median)
}

function median(list: number[]): number {
  const sorted = list.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

function print(title: string, rows: readonly (readonly string[])[]): void {
  console.log(`\n${title}`)
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  for (const row of rows) {
    console.log(`  ${row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')}`)
  }
}

const ms = (value: number): string => `${value.toFixed(2)} ms`
console.log(
  `${model.config.name}, ${blockCount} blocks, ${values.threads} threads, medians of ${runs}`
)

{
  using engine = newEngine()
  const span = await load(engine, 'native')
  const rooms = [256, 1024, 4096, 8192].filter((room) => room <= contextLength)
  const sessions = rooms.map((room) => {
    const id = engine.openSession(span)
    // Filled once and taken back: the room stays, and step 64 sees 64 tokens.
    step(engine, id, 0, tokens(room - 1))
    step(engine, id, 0, tokens(64))
    return { id, at: 64 }
  })
  const times = decodeMedians(engine, sessions)
  print('A step at token 64 against room in the cache', [
    ['room', 'step', 'ratio'],
    ...rooms.map((room, i) => [
      String(room),
      ms(times[i] ?? 0),
      ((times[i] ?? 0) / (times[0] ?? 1)).toFixed(2)
    ])
  ])
  const lengths = [16, 256, 1024, 4096].filter((length) => length < contextLength)
  const held = lengths.map((length) => {
    const id = engine.openSession(span)
    step(engine, id, 0, tokens(length))
    return { id, at: length }
  })
  const heldTimes = decodeMedians(engine, held)
  print('A step against tokens held (attention reads them all)', [
    ['tokens', 'step'],
    ...lengths.map((length, i) => [String(length), ms(heldTimes[i] ?? 0)])
  ])
}

{
  const rows = [['quant', 'weights', 'load', 'step', 'prefill of 512', 'notes']]
  for (const quant of ['native', 'f32', 'int8', 'int4'] as const) {
    using engine = newEngine()
    const began = systemClock.now()
    const span = await load(engine, quant)
    const loadMs = systemClock.now() - began
    const id = engine.openSession(span)
    step(engine, id, 0, tokens(16))
    const [stepMs = 0] = decodeMedians(engine, [{ id, at: 16 }])
    const prefills = [1, 2, 3].map(() => step(engine, id, 0, tokens(512)))
    rows.push([
      quant,
      formatBytes(engine.stats().weightBytes),
      ms(loadMs),
      ms(stepMs),
      `${((512 / median(prefills)) * 1000).toFixed(0)} tokens/s`,
      planNotes(await engine.loadSpan({ location, start: 0, end: 1, quant }, async () => {}))
    ])
  }
  print('Quantisations', rows)
}

{
  const rows = [['rows at once', 'prefill of 512', 'longest wait']]
  for (const chunk of [16, 32, 64, 128, 256, 512]) {
    using engine = newEngine(chunk)
    const span = await load(engine, 'native')
    const id = engine.openSession(span)
    step(engine, id, 0, tokens(512))
    const time = median([1, 2, 3].map(() => step(engine, id, 0, tokens(512))))
    rows.push([
      String(chunk),
      `${((512 / time) * 1000).toFixed(0)} tokens/s`,
      ms((time * chunk) / 512)
    ])
  }
  print('Rows at once', rows)
}

function planNotes(info: { notes: readonly string[] }): string {
  return info.notes.join('; ')
}
model.close()
