// Llama 1 to 3: RoPE scaling, RoPE over half a head, biases, heads that attention does not turn by
// itself.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'llama')
proveFixture(compute, 'llama3')
proveFixture(compute, 'llama-linear')
proveFixture(compute, 'llama-partial')

proveGguf(compute, 'llama')
proveGguf(compute, 'llama3')
proveGguf(compute, 'llama-linear')
proveGguf(compute, 'llama-partial')

proveRandom(compute, 'llama', 5)
proveLong(compute, 'llama')
