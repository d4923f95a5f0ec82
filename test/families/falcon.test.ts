// Falcon: one key head (7B), groups of heads and two norms (40B), one part after the other with
// ALiBi (RW).
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'falcon-7b')
proveFixture(compute, 'falcon-40b')
proveFixture(compute, 'falcon-rw')

proveGguf(compute, 'falcon-7b')
proveGguf(compute, 'falcon-40b')

proveRandom(compute, 'falcon', 8)
proveLong(compute, 'falcon')
