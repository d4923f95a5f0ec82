// bun scripts/gate/check-variants.ts [--result FILE] The tests of blocks, client and families once
// more under each lesser instruction set than the CPU's own: every word must come out the same.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { findTestFiles, killRunning, runTestFiles, type Tally } from './check-tests.ts'

const root = join(import.meta.dir, '..', '..')
const FOLDERS = ['test/blocks/', 'test/client/', 'test/families/']
/** What these show does not depend on the instruction set, or they go through all by themselves. */
const ELSEWHERE = [
  'test/blocks/cuda',
  'test/blocks/forms',
  'test/blocks/kept-weights',
  'test/blocks/load-memory',
  'test/blocks/parts',
  'test/blocks/scheduler',
  'test/blocks/sizes',
  'test/blocks/train/',
  'test/blocks/webgpu',
  'test/client/hostile',
  'test/client/route/',
  'test/client/speculate/speculate-sim',
  'test/families/bad-',
  'test/families/graphs',
  'test/families/hub-names',
  'test/families/same-bits'
]
/**
 * Minutes of plain C: test/families/same-bits and test/kernels/bits hold the same on small models,
 * and the worker's messages are no arithmetic.
 */
const TOO_LONG_PLAIN = ['test/blocks/compute', 'test/blocks/exact-rows', 'test/blocks/trained']
/** From better to plainer; arm64 has none between its own and plain. */
const LESSER = ['avx2', 'plain'] as const

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killRunning()
    process.exit(130)
  })
}

const { values } = scriptArguments(import.meta.path, { options: { result: { type: 'string' } } })
const own = loadKernels().variant
const all = await findTestFiles(root, FOLDERS)
const total: Tally = { passed: 0, failed: 0, skipped: 0 }
const lesser = LESSER.filter((variant) => variant !== own && isUsable(variant))
for (const variant of lesser) {
  const start = performance.now()
  const left = [...ELSEWHERE, ...(variant === 'plain' ? TOO_LONG_PLAIN : [])]
  const files = all.filter((file) => !left.some((prefix) => file.startsWith(prefix)))
  const { passed, failed, skipped } = await runTestFiles(root, files, {
    env: { PETALS_CPU: variant }
  })
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(
    `${variant.padEnd(8)} ${failed > 0 ? 'FAILED' : 'ok'}  ${files.length} files  ${seconds} s`
  )
}
// Of plain kernels there is no lesser one; that they load is one test.
if (lesser.length === 0) total.passed++
const line = `${total.passed} passed, ${total.failed} failed`
if (values.result) writeFileSync(values.result, `${line}\n`)
else console.log(line)
process.exit(total.failed === 0 ? 0 : 1)

function isUsable(variant: (typeof LESSER)[number]): boolean {
  try {
    return loadKernels({ variant }).variant === variant
  } catch {
    return false
  }
}
