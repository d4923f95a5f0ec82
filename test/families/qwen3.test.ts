// Qwen 3: norms of each query's and key's head; RoPE over a quarter of it.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'qwen3')
proveFixture(compute, 'qwen3-partial')

proveGguf(compute, 'qwen3')
proveGguf(compute, 'qwen3-partial')

proveRandom(compute, 'qwen3', 5)
proveLong(compute, 'qwen3')
