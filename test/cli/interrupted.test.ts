// A client that is killed in the middle of an answer: what it kept is gone on with, token for
// token, by a client that is started with the same file.
import { expect, test } from 'bun:test'
import { readFile, rm, watch } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, type Ending } from '../../scripts/processes.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000
const PROMPT = ['Once upon a time', '--raw', '--temperature', '0.9', '--seed', '4']

/** Ids of the answer that a file keeps, as soon as there are any; 0: the program ended before. */
async function firstKept(folder: string, file: string, program: Program): Promise<number> {
  const over = new AbortController()
  void program.end(MS).finally(() => over.abort())
  try {
    for await (const _ of watch(folder, { signal: over.signal })) {
      const text = await readFile(file, 'utf8').catch(() => '{}')
      const { unfinished } = JSON.parse(text) as { unfinished?: { ids: number[] } }
      if (unfinished && unfinished.ids.length > 0) return unfinished.ids.length
    }
  } catch (error) {
    if (!over.signal.aborted) throw error
  }
  return 0
}

test('an answer goes on after its client was killed, as if it had not been', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'talk.json')
  const start = (name: string, args: readonly string[]): Program => {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: folder.path,
      PETALS_HOME: join(folder.path, name),
      PETALS_BOOTSTRAP: address
    }
    return new Program([process.execPath, main, ...args], { env })
  }
  const chat = async (...args: string[]): Promise<Ending> => {
    await using program = start('client', ['chat', 'stories260k', '--here', 'none', ...args])
    return await program.end(MS)
  }
  await using bootstrap = new Program([process.execPath, main, 'bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  await using server = start('server', ['join', 'stories260k'])
  await server.match('stderr', /^ready\b/m, MS)

  const undisturbed = await chat(...PROMPT, '--max-tokens', '450')
  expect(undisturbed.stdout.length).toBeGreaterThan(600)

  const tokens = ['--here', 'none', '--max-tokens', '450', '--session', file]
  const killedMidway = async (): Promise<string> => {
    // On a busy machine the answer may be whole before we are asked again: then once more.
    for (let tries = 0; tries < 20; tries++) {
      await rm(file, { force: true })
      await using killed = start('client', ['chat', 'stories260k', ...PROMPT, ...tokens])
      const kept = await firstKept(folder.path, file, killed)
      killed.signal('SIGKILL')
      const { code, stdout } = await killed.end(MS)
      if (kept > 0 && code === null && stdout !== undisturbed.stdout) return stdout
    }
    throw new Error('Every answer was whole before its client could be killed')
  }
  const begun = await killedMidway()
  expect(undisturbed.stdout.startsWith(begun)).toBe(true)

  const resumed = await chat('--session', file, '--continue')
  expect({ code: resumed.code, stdout: resumed.stdout }).toEqual({
    code: 0,
    stdout: undisturbed.stdout
  })
  const again = await chat('--session', file, '--continue')
  expect([again.code, again.stdout, again.stderr.includes('no interrupted answer')]).toEqual([
    2,
    '',
    true
  ])
}, 240_000)
