// Gemma 3: two RoPE bases, one of them stretched, windows in five blocks of six, head norms.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'gemma3')

proveGguf(compute, 'gemma3')

proveRandom(compute, 'gemma3', 5)
proveLong(compute, 'gemma3')
