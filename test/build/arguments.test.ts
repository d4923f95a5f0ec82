import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { headOf } from '../../scripts/arguments.ts'
import { Program } from '../../scripts/processes.ts'

const root = join(import.meta.dir, '..', '..')
const build = join(root, 'scripts', 'build.ts')

async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  await using program = new Program([process.execPath, build, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '' }
  })
  const { code, stdout, stderr } = await program.end(60_000)
  return { code, out: stdout, err: stderr }
}

test('headOf() is the comment that a script begins with', () => {
  expect(headOf('#!/usr/bin/env bun\n// bun x.ts [--n 1]\n//   [--all]\n\n// more\n')).toBe(
    'bun x.ts [--n 1]\n  [--all]'
  )
  expect(headOf('// alone')).toBe('alone')
  expect(headOf("import 'x'\n// late\n")).toBe('')
})

test('a script says what it takes, and refuses the rest without a stack', async () => {
  const help = await run('--help')
  expect(help).toMatchObject({ code: 0, err: '' })
  expect(help.out).toMatch(/^bun scripts\/build\.ts \[--target /)
  const wrong = await run('--nope')
  expect(wrong).toEqual({
    code: 2,
    out: '',
    err: "build.ts: Unknown option '--nope'\n  --help says what it takes\n"
  })
}, 120_000)
