// bun scripts/gpu/build.ts FILE: the proof of prove-gpu.sh as an executable for this machine.
import { join, resolve } from 'node:path'
import { buildExecutable } from '../build/build-executable.ts'
import { hostTarget } from '../build/targets.ts'

const [outfile] = Bun.argv.slice(2)
const target = hostTarget()
if (outfile === undefined || target === undefined) {
  console.error('build: needs a FILE, and a machine that petals has a build for')
  process.exit(2)
}
const root = join(import.meta.dir, '..', '..')
const entries = [join(import.meta.dir, 'prove-gpu.ts'), join(root, 'src/blocks/worker.ts')]
await buildExecutable({ target, outfile: resolve(outfile), entries })
