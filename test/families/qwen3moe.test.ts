// Qwen3-MoE: two of six experts for each token, head norms.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'qwen3moe')

proveGguf(compute, 'qwen3moe')

proveRandom(compute, 'qwen3moe', 5)
proveLong(compute, 'qwen3moe')
