// Qwen 2: biases of queries, keys and values.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'qwen2')

proveGguf(compute, 'qwen2')

proveRandom(compute, 'qwen2', 5)
proveLong(compute, 'qwen2')
