// The other lowering of each family's one description: ONNX graphs, as CUDA and WebGPU run them,
// here proven by onnxruntime's CPU provider.
import { afterAll } from 'bun:test'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Compute } from '../../src/blocks/compute.ts'
import { proveGraphs, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2, device: 'onnx-cpu' })
afterAll(() => compute.close())

const folder = join(import.meta.dir, '..', 'fixtures', 'families')
for (const name of readdirSync(folder).sort()) proveGraphs(compute, name)
for (const family of ['llama', 'gemma2', 'falcon', 'qwen3moe'] as const) {
  proveRandom(compute, family, 1)
}
