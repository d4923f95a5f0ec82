// A client that is killed in the middle of an answer: what it kept is gone on with, token for token, by
// a client that is started with the same file.
import { expect, test } from 'bun:test'
import { readFile, watch } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, type Ending } from '../../scripts/processes.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000
const PROMPT = ['Once upon a time', '--raw', '--temperature', '0.9', '--seed', '4']

/** Ids of the answer that a file keeps, as soon as there are any. */
async function firstKept(folder: string, file: string): Promise<number> {
  for await (const _ of watch(folder, { signal: AbortSignal.timeout(MS) })) {
    const text = await readFile(file, 'utf8').catch(() => '{}')
    const { unfinished } = JSON.parse(text) as { unfinished?: { ids: number[] } }
    if (unfinished && unfinished.ids.length > 0) return unfinished.ids.length
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
    await using program = start('client', ['chat', 'stories260k', ...args])
    return await program.end(MS)
  }
  await using bootstrap = new Program([process.execPath, main, 'bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  await using server = start('server', ['join', 'stories260k'])
  await server.match('stderr', /^ready\b/m, MS)

  const undisturbed = await chat(...PROMPT, '--max-tokens', '450')
  expect(undisturbed.stdout.length).toBeGreaterThan(600)

  const tokens = ['--max-tokens', '450', '--session', file]
  await using killed = start('client', ['chat', 'stories260k', ...PROMPT, ...tokens])
  const kept = await firstKept(folder.path, file)
  killed.signal('SIGKILL')
  const { code, stdout: begun } = await killed.end(MS)
  expect([code, undisturbed.stdout.startsWith(begun), begun === undisturbed.stdout]).toEqual([
    null,
    true,
    false
  ])
  expect(kept).toBeGreaterThan(0)

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
