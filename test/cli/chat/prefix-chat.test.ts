// Chats of one user, each a process of its own, over one server process: what the server kept makes
// the next begin sooner with the same text, another user gets none of it, and --forget ends it.
import { expect, test } from 'bun:test'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Program } from '../../../scripts/processes.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000
const STORY =
  'Once upon a time there was a little girl named Lily who loved to play outside in the park.'

interface Said {
  readonly text: string
  readonly reused: number
}

test('a chat goes on in another process from what its server kept, and nobody else can', async () => {
  await using folder = await tempFolder()
  const start = (home: string, args: readonly string[], input = ''): Program => {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: folder.path,
      PETALS_HOME: join(folder.path, home)
    }
    return new Program([process.execPath, main, ...args], { env, input })
  }
  await using bootstrap = start('boot', ['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  const at = ['--bootstrap', address]
  await using server = start('server', ['join', 'stories260k', '--blocks', '0:5', ...at])
  await server.match('stderr', /^ready\b/m, MS)
  const chat = async (home: string, input: string, ...more: readonly string[]): Promise<Said> => {
    const fixed = ['--here', 'none', '--temperature', '0', '--max-tokens', '12', '--stats']
    await using program = start(home, ['chat', 'stories260k', ...at, ...fixed, ...more], input)
    const { code, stdout, stderr } = await program.end(MS)
    if (code !== 0) throw new Error(`chat ended with ${code}: ${stderr}`)
    return { text: stdout, reused: Number(/\((\d+) reused\)/.exec(stderr)?.[1] ?? 0) }
  }
  const first = await chat('ann', STORY, '--raw')
  const again = await chat('ann', STORY, '--raw')
  const off = await chat('ann', STORY, '--raw', '--no-prefix-cache')
  const other = await chat('bob', STORY, '--raw')
  const last = await chat('ann', STORY, '--raw', '--forget')
  const after = await chat('ann', STORY, '--raw')
  const all = [first, again, off, other, last, after]
  expect(new Set(all.map(({ text }) => text)).size).toBe(1)
  const { reused } = again
  expect(reused).toBeGreaterThanOrEqual(16)
  expect(all.map((said) => said.reused)).toEqual([0, reused, 0, 0, reused, 0])
  // Where it went is remembered, for the next to go there too.
  const known = await readFile(join(folder.path, 'ann', 'cache', 'servers'), 'utf8')
  expect(known).toMatch(/^[0-9a-f]{64} [0-9a-f]{64} \d+\.\d \d+\n$/)
}, 240_000)
