// Gemma 2: soft caps, windows in every other block, norms before and after, a scaled embedding.
import { afterAll } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { proveFixture } from './prove.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'gemma2')
