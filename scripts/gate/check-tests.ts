// The test stage of scripts/check.ts: every file in a `bun test` process and process group of its
// own. Trusts the JUnit report only: a file that runs nothing, exits early, hangs or leaves
// processes fails.
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { groupEnds, killGroup } from '../processes.ts'

export interface Tally {
  passed: number
  failed: number
  skipped: number
}

export interface FileResult extends Tally {
  /** What is wrong with the file beyond its failed tests. */
  fault: string | undefined
  output: string
  ms: number
}

export interface RunOptions {
  /** Processes at a time for files that keep no time with the network. Default 2. */
  jobs?: number
  /** Limit for one file in ms. Default 10 minutes. */
  timeoutMs?: number
  /** Limit for one test that sets none, in ms. Default 2 minutes: the machine may be busy. */
  testTimeoutMs?: number
  /** How long children of a finished file may take to follow it, in ms. Default 10,000. */
  graceMs?: number
  /** Added to the environment of every test. */
  env?: Readonly<Record<string, string>>
  /** Default: one line a file and the output of failed ones, on stdout. */
  print?: (line: string) => void
}

/** Folders whose files may run beside one another; all others talk to sockets or use all cores. */
const TOGETHER = ['test/base/', 'test/wire/', 'test/model/']
const DEFAULT_TIMEOUT_MS = 600_000
const DEFAULT_TEST_TIMEOUT_MS = 120_000

/** Test files below `root`, sorted; under any of `paths` when there are some. Skips test/live. */
export async function findTestFiles(
  root: string,
  paths: readonly string[] = []
): Promise<string[]> {
  const wanted = paths.map((path) => path.replace(/^\.\//, ''))
  const files: string[] = []
  for await (const file of new Bun.Glob('test/**/*.test.ts').scan({ cwd: root })) {
    const path = file.replaceAll('\\', '/')
    const chosen = wanted.some((prefix) => path.startsWith(prefix))
    if (wanted.length ? chosen : !path.startsWith('test/live/')) files.push(path)
  }
  return files.sort()
}

/**
 * Counts of one file from its JUnit report and exit code. No report means that the process ended
 * before bun could write one, e.g. by process.exit(0) inside a test.
 */
export function readReport(
  xml: string | undefined,
  code: number | null
): Tally & { fault?: string } {
  const head = xml?.match(/<testsuites [^>]*>/)?.[0]
  if (!head) {
    const fault = `no test ran to its end: the process exited with ${code} and wrote no report`
    return { passed: 0, failed: 1, skipped: 0, fault }
  }
  const count = (name: string): number => Number(head.match(` ${name}="(\\d+)"`)?.[1] ?? 0)
  const skipped = count('skipped')
  const failures = count('failures')
  const passed = Math.max(0, count('tests') - failures - skipped)
  if (code !== 0 && failures === 0) {
    return { passed, failed: 1, skipped, fault: `exit code ${code} although no test failed` }
  }
  if (passed + failures === 0) {
    return { passed, failed: 1, skipped, fault: 'no test ran: all are skipped' }
  }
  return { passed, failed: failures, skipped }
}

/** Runs one file. */
export async function runTestFile(
  root: string,
  file: string,
  options: RunOptions = {}
): Promise<FileResult> {
  const {
    timeoutMs = DEFAULT_TIMEOUT_MS,
    testTimeoutMs = DEFAULT_TEST_TIMEOUT_MS,
    graceMs = 10_000
  } = options
  const folder = mkdtempSync(join(tmpdir(), 'petals-check-'))
  const report = join(folder, 'report.xml')
  const log = openSync(join(folder, 'log'), 'w')
  const start = performance.now()
  try {
    const child = Bun.spawn(
      [
        process.execPath,
        'test',
        `--timeout=${testTimeoutMs}`,
        '--reporter=junit',
        `--reporter-outfile=${report}`,
        `./${file}`
      ],
      // CI=true makes `test.only` an error. A log file, since a pipe would wait for grandchildren.
      {
        cwd: root,
        env: { ...process.env, ...options.env, CI: 'true' },
        stdin: 'ignore',
        stdout: log,
        stderr: log,
        detached: true
      }
    )
    running.add(child.pid)
    let late = false
    const timer = setTimeout(() => {
      late = true
      killGroup(child.pid)
    }, timeoutMs)
    const code = await child.exited
    clearTimeout(timer)
    const left = late ? false : !(await groupEnds(child.pid, graceMs))
    killGroup(child.pid)
    running.delete(child.pid)
    const xml = existsSync(report) ? readFileSync(report, 'utf8') : undefined
    const result = readReport(xml, code)
    let { fault, failed } = result
    if (late) fault = `not done after ${timeoutMs / 1000} s: killed`
    else if (left) fault = 'left processes running: killed'
    if (fault && failed === 0) failed = 1
    const output = readFileSync(join(folder, 'log'), 'utf8')
    const ms = performance.now() - start
    return { passed: result.passed, failed, skipped: result.skipped, fault, output, ms }
  } finally {
    closeSync(log)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs all files, the timing-sensitive ones one at a time, and adds their counts up. */
export async function runTestFiles(
  root: string,
  files: readonly string[],
  options: RunOptions = {}
): Promise<Tally> {
  const { jobs = 2, print = console.log } = options
  const total: Tally = { passed: 0, failed: 0, skipped: 0 }
  const drain = async (queue: string[]): Promise<void> => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const result = await runTestFile(root, file, options)
      total.passed += result.passed
      total.failed += result.failed
      total.skipped += result.skipped
      print(describeResult(file, result))
    }
  }
  const together = files.filter((file) => TOGETHER.some((folder) => file.startsWith(folder)))
  const alone = files.filter((file) => !together.includes(file))
  await Promise.all(Array.from({ length: Math.max(1, jobs) }, () => drain(together)))
  await drain(alone)
  return total
}

function describeResult(file: string, result: FileResult): string {
  const skipped = result.skipped ? `, ${result.skipped} skipped` : ''
  const failed = result.failed ? `, ${result.failed} FAILED` : ''
  const line = `  ${file}  ${result.passed} passed${skipped}${failed}  ${(result.ms / 1000).toFixed(1)} s`
  if (!result.failed) return line
  return [line, result.output.trimEnd(), result.fault ? `  ${file}: ${result.fault}` : '']
    .filter(Boolean)
    .join('\n')
}

const running = new Set<number>()

/** Kills every test process that still runs; for the signal handlers of the gate. */
export function killRunning(): void {
  for (const pid of running) killGroup(pid)
}
