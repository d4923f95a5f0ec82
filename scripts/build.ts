// bun scripts/build.ts [--target linux-x64|linux-arm64|linux-x64-musl|linux-arm64-musl|darwin-x64|
//   darwin-arm64|windows-x64|windows-arm64]... [--all] [--out FILE]
// Makes the executable, by default ./petals for this machine; for another target ./petals-<target>.
// Names for Windows end with .exe. Other targets need zig, and fetch Bun's runtime from npm once.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { scriptArguments } from './arguments.ts'
import { formatBytes } from '../src/base/bytes.ts'
import { buildExecutable } from './build/build-executable.ts'
import { executableName, hostTarget, isTarget, TARGETS, type Target } from './build/targets.ts'

const root = join(import.meta.dir, '..')

/** Entry files of the product: the commands, and the compute worker beside them. */
const ENTRIES = [join(root, 'src/cli/main.ts'), join(root, 'src/blocks/worker.ts')] as const

function fail(message: string): never {
  console.error(`build: ${message}`)
  process.exit(2)
}

function chosenTargets(names: readonly string[], all: boolean): Target[] {
  if (all) return [...TARGETS]
  if (names.length === 0) {
    return [hostTarget() ?? fail(`no build for ${process.platform} ${process.arch}: use --target`)]
  }
  return names.map((name) =>
    isTarget(name) ? name : fail(`unknown target '${name}': use one of ${TARGETS.join(', ')}`)
  )
}

function defaultName(target: Target): string {
  return target === hostTarget() ? 'petals' : `petals-${target}`
}

const { values } = scriptArguments(import.meta.path, {
  options: {
    target: { type: 'string', multiple: true, default: [] },
    all: { type: 'boolean', default: false },
    out: { type: 'string' }
  }
})
const targets = chosenTargets(values.target, values.all)
if (values.out && targets.length > 1) fail('--out names one file, but there are several targets')

for (const target of targets) {
  const start = performance.now()
  const outfile = executableName(target, values.out ?? join(root, defaultName(target)))
  try {
    await buildExecutable({ target, outfile, entries: ENTRIES })
  } catch (error) {
    fail(`${target}: ${error instanceof Error ? error.message : String(error)}`)
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.error(`${outfile}  ${target}  ${formatBytes(statSync(outfile).size)}  ${seconds} s`)
}
