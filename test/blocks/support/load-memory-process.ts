// Loads one block in a process of its own and tells of the most memory that this took: while it was
// converted, and while the engine repacked it. MiB over what the process had before.
import { readFileSync } from 'node:fs'
import { createOnnx } from '../../../src/blocks/create-backend.ts'
import { spanGraph } from '../../../src/blocks/graph/span-graph.ts'
import { OrtPrepacked, OrtSession } from '../../../src/blocks/ort/session.ts'
import { OrtWeights } from '../../../src/blocks/ort/weights.ts'
import { spanParts } from '../../../src/blocks/weights/span-parts.ts'
import { planSpan } from '../../../src/blocks/span-plan.ts'
import type { Quant } from '../../../src/blocks/types.ts'
import { WeightStore } from '../../../src/blocks/weights/weight-store.ts'
import { openModel } from '../../../src/model/open-model.ts'

export interface LoadMemory {
  weights: number
  converting: number
  packing: number
  /** Once all is done. */
  held: number
}

const [path = '', quant, cacheDir = ''] = process.argv.slice(2)

function memory(key: 'VmHWM' | 'VmRSS'): number {
  const text = readFileSync('/proc/self/status', 'utf8')
  return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / 1024
}

const backend = createOnnx({
  threads: 1,
  device: 'onnx-cpu',
  deviceId: 0,
  memoryBytes: 2 ** 34,
  libraryDir: undefined,
  scratchDir: undefined,
  keep: { cacheDir }
})
const model = await openModel({ kind: 'gguf', paths: [path], contentId: 'ab'.repeat(32) })
const range = { start: 0, end: 1, quant: quant as Quant, lowering: 'onnx' as const }
const plan = planSpan(model.config, model.tensors, range)
Bun.gc(true)
const before = memory('VmRSS')
const owner = { location: model.location, reserve: () => ({ sizeBytes: 0, [Symbol.dispose]() {} }) }
using store = new WeightStore(backend.storeOptions, owner)
for (const part of spanParts(model, plan, range)) for (const _ of store.load(part));
const converting = memory('VmHWM') - before
using prepacked = new OrtPrepacked(backend.runtime)
const isFloat = quant === 'f32' || quant === 'f16'
const graph = spanGraph(plan, range, isFloat ? 0 : 4)
using tensors = new OrtWeights(backend.runtime, store)
const weights = tensors.pick(graph.weightNames)
using _session = new OrtSession(
  backend.runtime,
  { model: graph.model, weights, prepacked },
  backend.settings
)
const packing = memory('VmHWM') - before
store.trim()
Bun.gc(true)
const answer: LoadMemory = {
  weights: plan.weightBytes / 2 ** 20,
  converting,
  packing,
  held: memory('VmRSS') - before
}
process.stdout.write(JSON.stringify(answer))
