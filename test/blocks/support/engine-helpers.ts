// An engine in the test's own thread, and the sums that tests compare by.
import { systemClock } from '../../../src/base/clock.ts'
import { createBackend } from '../../../src/blocks/create-backend.ts'
import { Engine } from '../../../src/blocks/engine/engine.ts'
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
  const made = createBackend({
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
  const engine = new Engine(backend, memoryBytes, systemClock)
  const step: TestEngine['step'] = (session, start, hidden, width) => {
    const steps = engine.step({ session, start, count: hidden.length / width, hidden }, null)
    for (;;) {
      const answer = steps.next()
      if (answer) return answer.hidden
    }
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
