// Qwen 3: norms of each query's and key's head.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'qwen3')

proveGguf(compute, 'qwen3')

proveRandom(compute, 'qwen3', 5)
proveLong(compute, 'qwen3')
