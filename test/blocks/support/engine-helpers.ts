// An engine in the test's own thread, and the sums that tests compare by.
import { createOnnx } from '../../../src/blocks/create-backend.ts'
import { Engine, type EnginePiece } from '../../../src/blocks/engine/engine.ts'
import type { StopFlag } from '../../../src/blocks/engine/loaded-span.ts'
import { onnxBackend } from '../../../src/blocks/onnx/onnx-backend.ts'
import type { OrtRuntime } from '../../../src/blocks/ort/runtime.ts'
import type { SpanInfo, SpanOptions } from '../../../src/blocks/types.ts'
import type { WeightStoreOptions } from '../../../src/blocks/weights/weight-store.ts'

export interface TestEngine extends Disposable {
  engine: Engine
  runtime: OrtRuntime
  load(options: SpanOptions): Promise<SpanInfo>
  /** One step, all chunks. */
  step(session: number, start: number, hidden: Float32Array, width: number): Float32Array
  /** Steps of `sizes` rows after each other from position 0 in a session of its own. */
  feed(span: number, hidden: Float32Array, width: number, size: number): Float32Array
}

export interface TestEngineOptions {
  memoryBytes?: number
  /** Whether weights lie in a mapped file. */
  mapped?: boolean
  /** Where weights are kept and what is told of it. */
  store?: WeightStoreOptions
  chunkRows?: number
  /** Whether integer weights meet float activations. */
  exact?: boolean
  /** Values that share a scale where floats are rounded. */
  roundedBlock?: number
  /** Default 2. */
  threads?: number
}

/** A flag that nobody raises. */
export const NEVER: StopFlag = { word: new Int32Array(1) }

/** Runs one piece by itself; throws what went wrong. */
export function runPiece(engine: Engine, piece: EnginePiece): Float32Array {
  const [outcome] = engine.run([piece], NEVER)
  if (outcome instanceof Float32Array) return outcome
  throw outcome
}

export function testEngine(options: TestEngineOptions = {}): TestEngine {
  const {
    memoryBytes = 2 ** 32,
    mapped = true,
    chunkRows,
    exact = false,
    roundedBlock,
    threads = 2,
    store = {}
  }: TestEngineOptions = options
  const made = createOnnx({
    threads,
    device: 'cpu',
    deviceId: 0,
    memoryBytes,
    libraryDir: undefined,
    scratchDir: undefined
  })
  const backend = {
    ...made,
    chunkRows: chunkRows ?? made.chunkRows,
    storeOptions: { mapped, ...store },
    ...(exact ? { integerAccuracy: 0 as const } : {}),
    ...(roundedBlock === undefined ? {} : { roundedBlock })
  }
  const engine = new Engine(onnxBackend(backend), memoryBytes)
  const step: TestEngine['step'] = (session, start, hidden, width) => {
    const out = new Float32Array(hidden.length)
    const end = start + hidden.length / width
    for (let at = 0; at < hidden.length; at += backend.chunkRows * width) {
      const piece = hidden.slice(at, at + backend.chunkRows * width)
      out.set(runPiece(engine, { session, start: start + at / width, end, hidden: piece }), at)
    }
    return out
  }
  return {
    engine,
    runtime: backend.runtime,
    load: (options) => engine.loadSpan(options, async () => {}),
    step,
    feed(span, hidden, width, size) {
      const session = engine.openSession(span)
      const out = new Float32Array(hidden.length)
      for (let at = 0; at < hidden.length; at += size * width) {
        const rows = hidden.slice(at, at + size * width)
        out.set(step(session, at / width, rows, width), at)
      }
      engine.closeSession(session)
      return out
    },
    [Symbol.dispose]() {
      engine[Symbol.dispose]()
    }
  }
}

export function argmax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}
