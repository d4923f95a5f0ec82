// Mistral: a sliding window in every block, shorter than the prompt.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture, proveLong, proveRandom } from './support/prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'mistral')

proveRandom(compute, 'mistral', 5)
proveLong(compute, 'mistral')
