// bun scripts/gate/check-variants.ts [--result FILE] [--list]
// The tests of blocks, client and families once more under each lesser instruction set than the
// CPU's own: every word must come out the same. Left out is only what cannot load the kernels:
// tests that reach none of their files and start no programs. --list tells which these are.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { findTestFiles, killRunning, runTestFiles, type Tally } from './check-tests.ts'
import { reachedFrom } from './reached.ts'

const root = join(import.meta.dir, '..', '..')
const FOLDERS = ['test/blocks/', 'test/client/', 'test/families/']
const KERNELS = 'src/kernels/load.ts'
/** From better to plainer; each counts where it is not the CPU's own. */
const LESSER = ['avx2', 'neon', 'plain'] as const

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killRunning()
    process.exit(130)
  })
}

const { values } = scriptArguments(import.meta.path, {
  options: { result: { type: 'string' }, list: { type: 'boolean', default: false } }
})
const own = loadKernels().variant
const all = await findTestFiles(root, FOLDERS)
const files = all.filter(canLoadKernels)
if (values.list) {
  for (const file of all) if (!files.includes(file)) console.log(file)
  process.exit(0)
}
const total: Tally = { passed: 0, failed: 0, skipped: 0 }
const lesser = LESSER.filter((variant) => variant !== own && isUsable(variant))
for (const variant of lesser) {
  const start = performance.now()
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

function canLoadKernels(file: string): boolean {
  const { files, starters } = reachedFrom(root, file)
  return files.has(KERNELS) || starters.some((path) => path.startsWith('test/'))
}

function isUsable(variant: (typeof LESSER)[number]): boolean {
  try {
    return loadKernels({ variant }).variant === variant
  } catch {
    return false
  }
}
