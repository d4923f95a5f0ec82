// bun run check [--only STAGE|PATH]... [--jobs N] [--result FILE]
// The one gate: format, lint, layers, types, tests. Ends with `N passed, N failed`: passed counts
// tests, failed counts tests, test files that broke or ran nothing, and stages that found a fault.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from './arguments.ts'
import { type Tally, findTestFiles, killRunning, runTestFiles } from './gate/check-tests.ts'
import { layerFaultsIn } from './gate/layers.ts'

interface StageResult {
  ok: boolean
  output: string
}

interface Stage {
  name: string
  run(): Promise<StageResult>
}

const root = join(import.meta.dir, '..')
const FOLDERS = ['src', 'scripts', 'test']

function command(tool: string, ...args: string[]): () => Promise<StageResult> {
  return async () => {
    const path = tool === 'bun' ? process.execPath : join(root, 'node_modules', '.bin', tool)
    const child = Bun.spawn([path, ...args], {
      cwd: root,
      env: { ...process.env, NO_COLOR: '1' },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe'
    })
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited
    ])
    return { ok: code === 0, output: out + err }
  }
}

const STAGES: readonly Stage[] = [
  {
    name: 'format',
    run: command(
      'prettier',
      '--check',
      '--cache',
      '--cache-strategy',
      'content',
      '--cache-location',
      '.cache/prettier',
      '--log-level',
      'warn',
      ...FOLDERS,
      'package.json'
    )
  },
  { name: 'lint', run: command('oxlint', '-c', 'scripts/oxlint.json', ...FOLDERS) },
  {
    name: 'layers',
    run: async () => {
      const faults = await layerFaultsIn(root)
      return { ok: faults.length === 0, output: faults.join('\n') }
    }
  },
  { name: 'types', run: command('tsc', '-p', 'scripts/tsconfig.json') },
  { name: 'page', run: command('tsc', '-p', 'src/api/page/browser/tsconfig.json') }
]

function seconds(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`
}

async function runStage(stage: Stage): Promise<boolean> {
  const start = performance.now()
  const { ok, output } = await stage.run()
  console.log(`${stage.name.padEnd(8)} ${ok ? 'ok' : 'FAILED'}  ${seconds(start)}`)
  if (!ok) console.log(output.trimEnd())
  return ok
}

async function main(): Promise<number> {
  const { values } = scriptArguments(import.meta.path, {
    options: {
      only: { type: 'string', multiple: true, default: [] },
      jobs: { type: 'string', default: String(Math.min(2, cpus().length)) },
      result: { type: 'string' }
    }
  })
  const names = new Set(STAGES.map((stage) => stage.name))
  const paths = values.only.filter((part) => !names.has(part))
  const stages = STAGES.filter(({ name }) => !values.only.length || values.only.includes(name))

  let failedStages = 0
  for (const stage of stages) if (!(await runStage(stage))) failedStages++

  const tally: Tally = { passed: 0, failed: failedStages, skipped: 0 }
  if (!values.only.length || paths.length) {
    // Once, before the first tests wait for it.
    const kernels = { name: 'kernels', run: command('bun', 'scripts/build/kernels.ts') }
    if (!(await runStage(kernels))) tally.failed++
    const start = performance.now()
    const files = await findTestFiles(root, paths)
    if (!files.length) {
      console.log(`tests    FAILED  no test file under '${paths.join("', '") || 'test'}'`)
      tally.failed++
    }
    const tests = await runTestFiles(root, files, { jobs: Number(values.jobs) })
    const skipped = tests.skipped ? `, ${tests.skipped} skipped` : ''
    console.log(
      `tests    ${tests.failed ? 'FAILED' : 'ok'}  ${files.length} files${skipped}  ${seconds(start)}`
    )
    tally.passed += tests.passed
    tally.failed += tests.failed
  }
  const line = `${tally.passed} passed, ${tally.failed} failed`
  if (values.result) writeFileSync(values.result, `${line}\n`)
  else console.log(line)
  return tally.failed === 0 ? 0 : 1
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killRunning()
    process.exit(130)
  })
}

process.exit(await main())
