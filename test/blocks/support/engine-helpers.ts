// An engine in the test's own thread, and the sums that tests compare by.
import { createOnnx } from '../../../src/blocks/create-backend.ts'
import { Engine, type EnginePiece } from '../../../src/blocks/engine/engine.ts'
import type { ComputeBackend, StopFlag } from '../../../src/blocks/engine/loaded-span.ts'
import { kernelBackend } from '../../../src/blocks/kernel/kernel-backend.ts'
import { onnxBackend } from '../../../src/blocks/onnx/onnx-backend.ts'
import type { TrainResult, TrainStep } from '../../../src/blocks/train/train-types.ts'
import type { SpanInfo, SpanOptions } from '../../../src/blocks/types.ts'
import type { WeightStoreOptions } from '../../../src/blocks/weights/weight-store.ts'
import type { Variant } from '../../../src/kernels/kernels.ts'
import { loadKernels } from '../../../src/kernels/load.ts'
import { Runner } from '../../../src/kernels/run.ts'

export interface TestEngine extends Disposable {
  engine: Engine
  load(options: SpanOptions): Promise<SpanInfo>
  /** One step, all chunks. */
  step(session: number, start: number, hidden: Float32Array, width: number): Float32Array
  /** Steps of `sizes` rows after each other from position 0 in a session of its own. */
  feed(span: number, hidden: Float32Array, width: number, size: number): Float32Array
  /** A training step. */
  train(step: TrainStep): TrainResult
  /** The same in slices, each with a flag of its own. */
  trainSlices(step: TrainStep, flag: () => StopFlag): TrainResult
}

export interface TestEngineOptions {
  memoryBytes?: number
  /** Graphs of onnxruntime's CPU provider instead of our own kernels. */
  onnx?: boolean
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
  /** The kernels' instruction set. Default: the best, or what PETALS_CPU says. */
  variant?: Variant
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
  const { memoryBytes = 2 ** 32 }: TestEngineOptions = options
  const backend = options.onnx ? onnxTestBackend(options) : kernelTestBackend(options)
  const chunkRows = options.chunkRows ?? backend.chunkRows
  const engine = new Engine(backend, memoryBytes)
  const step: TestEngine['step'] = (session, start, hidden, width) => {
    const out = new Float32Array(hidden.length)
    const end = start + hidden.length / width
    for (let at = 0; at < hidden.length; at += chunkRows * width) {
      const piece = hidden.slice(at, at + chunkRows * width)
      out.set(runPiece(engine, { session, start: start + at / width, end, hidden: piece }), at)
    }
    return out
  }
  let jobs = 0
  const trainSlices: TestEngine['trainSlices'] = (training, flag) => {
    const job = ++jobs
    engine.beginTrain(job, training)
    for (;;) {
      const result = engine.train(job, flag())
      if (result !== undefined) return result
    }
  }
  return {
    engine,
    train: (training) => trainSlices(training, () => NEVER),
    trainSlices,
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
      backend[Symbol.dispose]()
    }
  }
}

function kernelTestBackend(options: TestEngineOptions): ComputeBackend {
  const { mapped = true, exact = false, threads = 2, store = {}, variant } = options
  const kernels = loadKernels({ variant })
  return kernelBackend({
    kernels,
    runner: new Runner(kernels, threads),
    storeOptions: { mapped, ...store },
    floatActivations: exact
  })
}

function onnxTestBackend(options: TestEngineOptions): ComputeBackend {
  const { mapped = true, exact = false, threads = 2, store = {}, roundedBlock } = options
  const made = createOnnx({
    threads,
    device: 'onnx-cpu',
    deviceId: 0,
    memoryBytes: 2 ** 32,
    libraryDir: undefined,
    scratchDir: undefined
  })
  return onnxBackend({
    ...made,
    storeOptions: { mapped, ...store },
    ...(exact ? { integerAccuracy: 0 as const } : {}),
    ...(roundedBlock === undefined ? {} : { roundedBlock })
  })
}

export function argmax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}
