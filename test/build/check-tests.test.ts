// scripts/gate/check-tests.ts over made-up test files: what passes, and every way in which a file
// can lie.
import { expect, test } from 'bun:test'
import {
  findTestFiles,
  readReport,
  runTestFile,
  runTestFiles,
  type FileResult
} from '../../scripts/gate/check-tests.ts'
import { tempFolder } from '../support/temp-folder.ts'

const IMPORT = "import { expect, test } from 'bun:test'\n"
const FILE = 'test/made/up.test.ts'

async function resultOf(code: string, timeoutMs = 30_000): Promise<FileResult> {
  await using folder = await tempFolder()
  await folder.write(FILE, IMPORT + code)
  return await runTestFile(folder.path, FILE, { timeoutMs, graceMs: 300 })
}

test('counts tests that passed, failed and were skipped', async () => {
  const code = [
    "test('a', () => expect(1).toBe(1))",
    "test('b', () => expect(1).toBe(1))",
    "test('c', () => expect(1).toBe(2))",
    "test.skip('d', () => {})",
    "test.todo('e')"
  ].join('\n')
  const { passed, failed, skipped, fault } = await resultOf(code)
  expect({ passed, failed, skipped, fault }).toEqual({
    passed: 2,
    failed: 1,
    skipped: 2,
    fault: undefined
  })
})

test.each([
  ['has no test', 'console.log(expect, test)', 'wrote no report'],
  ['skips all of its tests', "test.skip('a', () => {})", 'all are skipped'],
  [
    'exits in a test',
    "test('a', () => expect(1).toBe(1))\ntest('b', () => process.exit(0))",
    'exited with 0 and wrote no report'
  ],
  ['throws outside of its tests', "test('a', () => {})\nthrow new Error('xyz')", 'error: xyz'],
  [
    'runs only some of its tests',
    "test('a', () => {})\ntest.only('b', () => {})",
    '.only is disabled in CI'
  ],
  ['does not parse', 'test(', 'Unexpected end of file']
])('fails a file that %s', async (_name, code, fault) => {
  const result = await resultOf(code)
  expect(result.failed).toBeGreaterThan(0)
  expect(`${result.fault}\n${result.output}`).toContain(fault)
})

test('kills a file that does not end', async () => {
  const result = await resultOf("test('a', () => { while (true) expect(1).toBe(1) })", 500)
  expect(result).toMatchObject({ failed: 1, fault: 'not done after 0.5 s: killed' })
})

test('kills and fails a file that leaves a process running', async () => {
  const code = "test('a', () => { Bun.spawn(['sleep', '600']).unref(); expect(1).toBe(1) })"
  const result = await resultOf(code)
  expect(result).toMatchObject({ passed: 1, failed: 1, fault: 'left processes running: killed' })
})

test('readReport() counts an exit code without a failed test as a failure', () => {
  const xml = '<testsuites name="bun test" tests="2" assertions="0" failures="0" skipped="0">'
  expect(readReport(xml, 0)).toEqual({ passed: 2, failed: 0, skipped: 0 })
  expect(readReport(xml, 1)).toMatchObject({ passed: 2, failed: 1 })
  expect(readReport(xml, null)).toMatchObject({ failed: 1 })
})

test('finds files by their path and leaves those of test/live to those who name them', async () => {
  await using folder = await tempFolder()
  for (const path of ['test/b/b.test.ts', 'test/a.test.ts', 'test/live/c.test.ts', 'test/b/b.ts']) {
    await folder.write(path, '')
  }
  expect(await findTestFiles(folder.path)).toEqual(['test/a.test.ts', 'test/b/b.test.ts'])
  expect(await findTestFiles(folder.path, ['test/b'])).toEqual(['test/b/b.test.ts'])
  expect(await findTestFiles(folder.path, ['./test/live'])).toEqual(['test/live/c.test.ts'])
})

test('adds files up and prints a line for each', async () => {
  await using folder = await tempFolder()
  await folder.write('test/base/a.test.ts', `${IMPORT}test('a', () => expect(1).toBe(1))`)
  await folder.write('test/udx/b.test.ts', `${IMPORT}test('b', () => expect(1).toBe(2))`)
  const lines: string[] = []
  const files = ['test/base/a.test.ts', 'test/udx/b.test.ts']
  const tally = await runTestFiles(folder.path, files, { print: (line) => lines.push(line) })
  expect(tally).toEqual({ passed: 1, failed: 1, skipped: 0 })
  expect(lines.map((line) => line.split('  ').slice(1, 3).join(': '))).toEqual([
    'test/base/a.test.ts: 1 passed',
    'test/udx/b.test.ts: 0 passed, 1 FAILED'
  ])
})

test('the gate fails when what was asked for has no test file', () => {
  const command = [process.execPath, 'scripts/check.ts', '--only', 'test/nowhere']
  const root = `${import.meta.dir}/../..`
  const { exitCode, stdout } = Bun.spawnSync(command, { cwd: root })
  expect(exitCode).toBe(1)
  expect(stdout.toString().trimEnd().split('\n').at(-1)).toBe('0 passed, 1 failed')
})
