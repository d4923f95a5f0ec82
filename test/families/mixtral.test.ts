// Mixtral: two of four experts for each token.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveRandom } from './prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'mixtral')

proveGguf(compute, 'mixtral')

proveRandom(compute, 'mixtral', 5)
