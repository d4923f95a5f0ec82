// The chat program with blocks that it computes itself: alone, beside a server, and told not to.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Program, type Ending } from '../../../scripts/processes.ts'
import { readReferences } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000
const [reference] = readReferences()
const PROMPT = reference?.prompt ?? ''
const CUT = 'the answer was cut: --max-tokens is reached\n'
/** Where nobody listens. */
const NOBODY = '127.0.0.1:9'

interface Machine extends AsyncDisposable {
  start(args: readonly string[]): Program
  chat(...args: readonly string[]): Promise<Ending>
}

async function machine(bootstrap: string): Promise<Machine> {
  const folder = await tempFolder()
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder.path,
    PETALS_HOME: join(folder.path, 'home'),
    PETALS_BOOTSTRAP: bootstrap
  }
  const start = (args: readonly string[]): Program =>
    new Program([process.execPath, main, ...args], { env })
  return {
    start,
    async chat(...args) {
      const fixed = ['--raw', '--temperature', '0', '--max-tokens', '20']
      await using program = start(['chat', 'stories260k', PROMPT, ...fixed, ...args])
      return await program.end(MS)
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]()
  }
}

const isGolden = (text: string): boolean =>
  text.length > 20 && reference?.text.startsWith(PROMPT + text.trimEnd()) === true

test('a chat is answered here where there is no swarm, and a word says so', async () => {
  await using alone = await machine(NOBODY)
  const { code, stdout, stderr } = await alone.chat()
  expect([code, isGolden(stdout), stderr]).toEqual([
    0,
    true,
    `blocks 0:5 of stories260k run here: servers take over where they are faster\n${CUT}`
  ])
}, 120_000)

test('a model without a chat template is told of before its blocks are loaded', async () => {
  await using alone = await machine(NOBODY)
  await using program = alone.start(['chat', 'stories260k', 'Hello'])
  const { code, stderr } = await program.end(MS)
  expect([code, stderr.split('\n')[0]]).toEqual([
    2,
    'error: The model cannot chat: it has no chat template'
  ])
}, 120_000)

test('--here all leaves nothing to servers', async () => {
  await using alone = await machine(NOBODY)
  const { code, stdout, stderr } = await alone.chat('--here', 'all')
  expect([code, isGolden(stdout), stderr]).toEqual([
    0,
    true,
    `blocks 0:5 of stories260k run here: nothing leaves this machine\n${CUT}`
  ])
  const { stderr: named } = await alone.chat('--here', '0:5')
  expect(named).toBe(`blocks 0:5 of stories260k run here: no server is asked for any\n${CUT}`)
}, 120_000)

test('--here none and blocks that are missing end without a swarm', async () => {
  await using alone = await machine(NOBODY)
  const [none, some] = [await alone.chat('--here', 'none'), await alone.chat('--here', '0:2')]
  expect([none.code, some.code]).toEqual([6, 6])
}, 120_000)

test('--here takes blocks of the model alone', async () => {
  await using alone = await machine(NOBODY)
  const [wide, word] = [await alone.chat('--here', '2:6'), await alone.chat('--here', 'some')]
  expect([wide.code, word.code]).toEqual([2, 2])
  expect(wide.stderr).toContain('--here 2:6 cannot be used: stories260k has 5 blocks')
  expect(word.stderr).toContain("--here cannot be 'some'")
}, 120_000)

test('what does not fit says how much is missing, and what would serve it', async () => {
  await using alone = await machine(NOBODY)
  const { code, stderr } = await alone.chat('--here', 'all', '--memory', '400k')
  expect(code).toBe(7)
  expect(stderr).toMatch(
    /^error: Blocks 0:5 do not fit here: .* are needed and 400\.0 KiB are free, .* are missing\n .*petals join/
  )
}, 120_000)

test('the first blocks stay here and a server has the others, with the same text', async () => {
  await using server = await machine(NOBODY)
  await using bootstrap = server.start(['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  await using serving = server.start(['join', 'stories260k', '--bootstrap', address])
  await serving.match('stderr', /^ready\b/m, MS)
  await using client = await machine(address)
  const { code, stdout, stderr } = await client.chat('--here', '0:2', '--stats')
  expect([code, isGolden(stdout)]).toEqual([0, true])
  expect(stderr).toMatch(/route here\[0:2\] > [0-9a-f]{8}\[2:5\]\n/)
}, 120_000)
