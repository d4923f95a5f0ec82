// bun scripts/bench/bench-start.ts [--runs N]
// How long the executable takes to start, with its functions stored compiled (bytecode) and
// without, and from source: builds both, runs each command of each in turn, prints medians and
// ratios.
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { formatBytes } from '../../src/base/bytes.ts'
import { buildExecutable } from '../build/build-executable.ts'
import { hostTarget } from '../build/targets.ts'

const root = join(import.meta.dir, '..', '..')
const main = join(root, 'src/cli/main.ts')
const { values } = scriptArguments(import.meta.path, {
  options: { runs: { type: 'string', default: '30' } }
})
const folder = mkdtempSync(join(tmpdir(), 'petals-bench-'))
const home = join(folder, 'home')

/** `status` of a file that is not there: what a command needs is loaded, and no network is used. */
const COMMANDS = [['--version'], ['--help'], ['status', join(folder, 'none.gguf')]]

function timeOf(command: readonly string[]): number {
  const start = performance.now()
  Bun.spawnSync([...command], { env: { HOME: home, PETALS_HOME: home }, cwd: folder })
  return performance.now() - start
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0
}

try {
  const target = hostTarget()
  if (!target) throw new Error('There is no build for this machine')
  const ways: Record<string, string[]> = { source: [process.execPath, main] }
  for (const bytecode of [true, false]) {
    const outfile = join(folder, bytecode ? 'bytecode' : 'text')
    const entries = [main, join(root, 'src/blocks/worker.ts')]
    await buildExecutable({ target, outfile, entries, bytecode })
    ways[bytecode ? 'bytecode' : 'text'] = [outfile]
    console.log(`${bytecode ? 'bytecode' : 'text'}: ${formatBytes(statSync(outfile).size)}`)
  }
  for (const args of COMMANDS) {
    const times: Record<string, number[]> = {}
    for (let run = 0; run < Number(values.runs); run++) {
      for (const [way, command] of Object.entries(ways)) {
        ;(times[way] ??= []).push(timeOf([...command, ...args]))
      }
    }
    const base = median(times['text'] ?? [])
    const cells = Object.entries(times).map(([way, list]) => {
      const ms = median(list)
      return `${way} ${ms.toFixed(1)} ms (${(ms / base).toFixed(2)})`
    })
    console.log(`petals ${args[0]}: ${cells.join(', ')}`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
