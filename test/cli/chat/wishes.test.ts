// The chat program over one server: what is typed, piped and kept in a file reaches the model as it
// was meant, and what cannot be done is told.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Ending, Program } from '../../../scripts/processes.ts'
import { chatStoriesBytes } from '../../support/models/chat-stories.ts'
import { tempFolder, type TempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000

let folder: TempFolder
let model = ''
let env: Record<string, string> = {}
const programs: Program[] = []

beforeAll(async () => {
  folder = await tempFolder()
  model = await folder.write('stories.gguf', await chatStoriesBytes())
  env = { PATH: process.env['PATH'] ?? '', HOME: folder.path, M: model }
  env['P'] = `${process.execPath} ${main}`
  const start = (name: string, args: readonly string[]): Program => {
    const own = { ...env, PETALS_HOME: join(folder.path, name) }
    const program = new Program([process.execPath, main, ...args], { env: own })
    programs.push(program)
    return program
  }
  const [, address = ''] = await start('boot', ['bootstrap', '--port', '0']).match(
    'stdout',
    /^(\S+:\d+)$/m,
    MS
  )
  env['PETALS_BOOTSTRAP'] = address
  env['PETALS_HOME'] = join(folder.path, 'client')
  await start('server', ['join', model, '--threads', '1']).match('stderr', /^ready\b/m, MS)
}, 2 * MS)

afterAll(async () => {
  for (const program of programs.toReversed()) await program[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

/** Runs a line of the shell in the test's folder; $P chat asks the model $M. */
async function sh(line: string, shell = 'sh'): Promise<Ending> {
  await using program = new Program([shell, '-c', line], { env, cwd: folder.path })
  return await program.end(MS)
}

const chat = '$P chat $M --here none --temperature 0 --max-tokens 4'

/** What was asked of the model: the last question of a kept conversation. */
async function asked(file: string): Promise<string[]> {
  const { messages } = JSON.parse(await readFile(join(folder.path, file), 'utf8')) as {
    messages: { role: string; content: string }[]
  }
  return messages.filter(({ role }) => role !== 'assistant').map(({ content }) => content)
}

test('an empty --system is an empty text, and a session called like a number keeps its name', async () => {
  const { code } = await sh(`${chat} --session 2024.10 --system "" 007`)
  expect([code, await asked('2024.10')]).toEqual([0, ['', '007']])
})

test('--system holds for a conversation that goes on', async () => {
  await sh(`${chat} --session sys --system "Be brief" one`)
  await sh(`${chat} --session sys --system "Be long" two`)
  expect(await asked('sys')).toEqual(['Be long', 'one', 'two'])
})

test('--schema holds one answer of a kept conversation, and not the next', async () => {
  const held = await sh(`$P chat $M --here none --session s.json --schema '{"const":[1]}' one`)
  expect([held.code, held.stdout.replaceAll(/\s/g, '')]).toEqual([0, '[1]'])
  const free = await sh(`${chat} --session s.json two`)
  expect([free.code, await asked('s.json')]).toEqual([0, ['one', 'two']])
  expect(free.stdout.replaceAll(/\s/g, '')).not.toBe('[1]')
  const changed = await sh(`$P chat $M --session s.json --continue --schema 'a int'`)
  expect([changed.code, changed.stderr.includes('--schema cannot be changed')]).toEqual([2, true])
})

test('a loop of the shell keeps its lines, from a file and from a pipe', async () => {
  await writeFile(join(folder.path, 'lines'), 'one\ntwo\nthree\n')
  const loop = (to: string): string => `while read l; do ${chat} --session ${to} "$l"; done`
  await sh(`${loop('by-file')} < lines; cat lines | ${loop('by-pipe')}`)
  expect([await asked('by-file'), await asked('by-pipe')]).toEqual([
    ['one', 'two', 'three'],
    ['one', 'two', 'three']
  ])
}, 120_000)

test('a document goes behind the words, from a file and from a pipe', async () => {
  await writeFile(join(folder.path, 'doc'), 'first\nsecond\n')
  await sh(
    `${chat} --session doc-file Sum < doc; cat doc | ${chat} --session doc-pipe Sum; ` +
      `f() { ${chat} --session doc-function Sum; }; cat doc | f`
  )
  const all = ['doc-file', 'doc-pipe', 'doc-function']
  expect(await Promise.all(all.map(asked))).toEqual(all.map(() => ['Sum\n\nfirst\nsecond']))
}, 120_000)

test('a file on stdin is read from where it stands', async () => {
  await writeFile(join(folder.path, 'rest'), 'first\nsecond\nthird\n')
  await sh(`(read l; ${chat} --session offset) < rest`)
  expect(await asked('offset')).toEqual(['second\nthird'])
})

test('a silent pipe gets a word, and a folder on stdin is refused', async () => {
  const line = 'mkfifo silent; (exec 9>silent; read l < go) & $P chat $M < silent'
  await sh('mkfifo go')
  await using waiting = new Program(['sh', '-c', line], { env, cwd: folder.path })
  await waiting.match('stderr', /^waiting for a prompt on stdin$/m, MS)
  await sh('echo > go')
  expect((await waiting.end(MS)).code).toBe(2)
  const { code, stderr } = await sh('$P chat $M < .')
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('it is a folder') })
})

test('an answer that was cut says so, and has a code of its own only with --strict', async () => {
  const [plain, strict, stats] = [
    await sh(`${chat} Once`),
    await sh(`${chat} Once --strict`),
    await sh('$P chat $M --temperature 0 --raw "Once upon a time" --strict --stats')
  ]
  const cut = 'the answer was cut: --max-tokens is reached\n'
  expect([plain.code, plain.stderr, strict.code, strict.stderr]).toEqual([0, cut, 9, cut])
  // The tiny model tells stories until its context is full.
  expect([stats.code, stats.stderr]).toEqual([
    9,
    expect.stringMatching(
      / tokens\/s; .*\nthe answer was cut: the model's context of 512 tokens is full\n$/
    )
  ])
})

test('wishes that cannot be met together are refused by name', async () => {
  const lines = [
    '--raw --system a Once',
    '--session s --continue --temperature 0',
    '--session s --continue --system a',
    '--continue',
    '--session "" Once',
    '--temperature "" Once',
    '--swarm "" Once'
  ]
  const endings = await Promise.all(lines.map((line) => sh(`$P chat $M ${line}`)))
  expect(endings.map(({ code, stdout }) => [code, stdout])).toEqual(lines.map(() => [2, '']))
  expect(endings.map(({ stderr }) => /--[a-z]+/.exec(stderr)?.[0])).toEqual([
    '--raw',
    '--continue',
    '--continue',
    '--continue',
    '--session',
    '--temperature',
    '--swarm'
  ])
})

test('an empty file is a new conversation, a mode is kept, a link is followed', async () => {
  await mkdir(join(folder.path, 'kept'))
  await writeFile(join(folder.path, 'kept', 'empty'), '\n', { mode: 0o644 })
  await symlink('kept/empty', join(folder.path, 'link'))
  const { code } = await sh(`${chat} --session link one && ${chat} --session kept/empty two`)
  const { mode } = await stat(join(folder.path, 'kept', 'empty'))
  expect([code, mode & 0o777, await asked('kept/empty')]).toEqual([0, 0o644, ['one', 'two']])
})

test('a second chat on a --session file is told, and the first loses nothing', async () => {
  await sh('mkfifo slow')
  const line = `(exec 9>slow; read l < go; echo first >&9) & ${chat} --session shared < slow`
  await using first = new Program(['sh', '-c', line], { env, cwd: folder.path })
  await first.match('stderr', /^waiting for a prompt on stdin$/m, MS)
  const second = await sh(`${chat} --session shared second`)
  expect([second.code, second.stdout, second.stderr]).toEqual([
    7,
    '',
    expect.stringContaining("The conversation in 'shared' is open in another chat")
  ])
  await sh('echo > go')
  expect([(await first.end(MS)).code, await asked('shared')]).toEqual([0, ['first']])
  expect((await sh(`${chat} --session shared third`)).code).toBe(0)
})

test('a conversation that outgrew the context says how to go on, and leaves nothing unfinished', async () => {
  const long = 'Once upon a time there was a little girl. '.repeat(60)
  await sh(`${chat} --session grown one`)
  const { code, stderr } = await sh(`${chat} --session grown "${long}"`)
  expect([code, stderr]).toEqual([2, expect.stringContaining('/new, or another --session file')])
  expect((await sh('$P chat $M --session grown --continue')).stderr).toContain(
    'There is no interrupted answer'
  )
})
