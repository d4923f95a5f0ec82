// BLOOM: ALiBi for numbers of heads that are powers of two and that are not, a norm over the
// embedding.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'bloom')
proveFixture(compute, 'bloom-6-heads')

proveGguf(compute, 'bloom')
proveGguf(compute, 'bloom-6-heads')

proveRandom(compute, 'bloom', 5)
proveLong(compute, 'bloom')
