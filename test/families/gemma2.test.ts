// Gemma 2: soft caps, windows in every other block, norms before and after, a scaled embedding.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'gemma2')

proveGguf(compute, 'gemma2')

proveRandom(compute, 'gemma2', 5)
proveLong(compute, 'gemma2')
