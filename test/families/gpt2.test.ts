// GPT-2: learned positions, layer norms, transposed matrices, a tied head.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'gpt2')

proveGguf(compute, 'gpt2')

proveRandom(compute, 'gpt2', 5)
proveLong(compute, 'gpt2')
