// scripts/processes.ts: bounded waits on what programs print, and nothing left running.
import { expect, test } from 'bun:test'
import { groupLives, Program } from '../../scripts/processes.ts'

function sh(script: string, input?: string): Program {
  return new Program(['/bin/sh', '-c', script], input === undefined ? {} : { input })
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing was thrown',
    (error: unknown) => String(error)
  )
}

test('match() finds what was printed before and what comes later', async () => {
  await using program = sh('echo first; read line; echo "second $line" >&2', 'given\n')
  expect((await program.match('stdout', /^f(.*)t$/m, 30_000))[1]).toBe('irs')
  await program.match('stderr', /second given/, 30_000)
  expect(await program.end(30_000)).toEqual({
    code: 0,
    stdout: 'first\n',
    stderr: 'second given\n'
  })
})

test('match() fails with the output when the program ends without it', async () => {
  await using program = sh('echo other; echo why >&2; exit 3')
  const message = await messageOf(program.match('stdout', /ready/, 30_000))
  expect(message).toContain('ended without printing /ready/')
  expect(message).toContain('stdout: other\nstderr: why')
})

test('match() and end() fail when the time is up', async () => {
  await using program = sh('sleep 600')
  expect(await messageOf(program.match('stdout', /ready/, 50))).toContain('within 0.05 s')
  expect(await messageOf(program.end(50))).toContain('did not end within 0.05 s')
})

test('disposal ends the whole process group', async () => {
  const program = sh('sleep 600 & sleep 600')
  expect(groupLives(program.pid)).toBe(true)
  await program[Symbol.asyncDispose]()
  expect(program.over).toBe(true)
  expect(groupLives(program.pid)).toBe(false)
})
