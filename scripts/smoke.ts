// bun scripts/smoke.ts [--petals FILE] [--result FILE]
// The executable, alone in an empty folder, in a swarm of three servers on loopback: what a user
// types. Every wait is bounded; whatever happens, nothing is left running. Ends with `N passed, N
// failed`.
import type { BlockSpan } from '../src/base/block-span.ts'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { scriptArguments } from './arguments.ts'
import { storiesGgufBytes } from '../test/support/models/remote-model.ts'
import { groupLives, killPrograms, Program, type Ending } from './processes.ts'

/** The machine may have two cores that others use as well. */
const READY_MS = 90_000
const ANSWER_MS = 120_000
const MODEL = 'stories260k'
const BLOCKS = 5
const SPANS = ['0:2', '2:4', '4:5']
const PROMPT = 'Once upon a time'

const root = join(import.meta.dir, '..')
const { values } = scriptArguments(import.meta.path, {
  options: { petals: { type: 'string', default: join(root, 'petals') }, result: { type: 'string' } }
})

const folder = mkdtempSync(join(tmpdir(), 'petals-smoke-'))
const petals = join(folder, 'petals')
const home = join(folder, 'home')
let passed = 0
let failed = 0

/** Starts `petals` with nothing of this machine's environment but a home and a search path. */
function start(args: readonly string[], input = '', name = 'client'): Program {
  const own = join(home, name)
  const env = { PATH: '/usr/bin:/bin', HOME: own, PETALS_HOME: own, LANG: 'C.UTF-8' }
  return new Program([petals, ...args], { cwd: folder, env, input })
}

async function run(
  args: readonly string[],
  input = '',
  ms = ANSWER_MS,
  name = 'client'
): Promise<Ending> {
  await using program = start(args, input, name)
  return await program.end(ms)
}

/** One thing that a user relies on; what it throws is what is wrong. */
async function check<T>(name: string, body: () => Promise<T>): Promise<T | undefined> {
  const begin = performance.now()
  try {
    const value = await body()
    passed++
    console.log(`  ok      ${name}  ${((performance.now() - begin) / 1000).toFixed(1)} s`)
    return value
  } catch (error) {
    failed++
    console.log(`  FAILED  ${name}`)
    console.log(error instanceof Error ? error.message : String(error))
    return undefined
  }
}

function same(what: string, actual: unknown, expected: unknown): void {
  if (Bun.deepEquals(actual, expected)) return
  throw new Error(
    `${what} differs\nexpected: ${JSON.stringify(expected)}\nfound:    ${JSON.stringify(actual)}`
  )
}

function matches(what: string, text: string, pattern: RegExp): void {
  if (!pattern.test(text)) throw new Error(`${what} has no ${pattern}: ${JSON.stringify(text)}`)
}

/** The greedy text on which two other implementations agree, from test/fixtures. */
function referenceText(): string {
  const path = join(root, 'test', 'fixtures', 'reference_completions.txt')
  const sections = readFileSync(path, 'utf8').split('## prompt: ').slice(1)
  const section = sections.find((text) => text.startsWith(`${JSON.stringify(PROMPT)}\n`))
  const text = section?.match(/^text: (".*")$/m)?.[1]
  if (text === undefined) throw new Error(`The fixture has no completion of '${PROMPT}'`)
  return String(JSON.parse(text))
}

async function swarm(stack: AsyncDisposableStack): Promise<void> {
  const bootstrap = await check('bootstrap prints where it listens', async () => {
    const program = stack.use(
      start(['bootstrap', '--host', '127.0.0.1', '--port', '0'], '', 'bootstrap')
    )
    const [, address = ''] = await program.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, READY_MS)
    return { program, address }
  })
  if (!bootstrap) return
  const via = ['--bootstrap', bootstrap.address]

  const servers = await check('three servers join, each with its blocks', async () => {
    const programs = SPANS.map((blocks) =>
      stack.use(start(['join', MODEL, ...via, '--blocks', blocks], '', `server-${blocks}`))
    )
    await Promise.all(programs.map((program) => program.match('stderr', /\bready\b/i, READY_MS)))
    return programs
  })
  if (!servers) return

  const chat = [
    'chat',
    MODEL,
    ...via,
    '--here',
    'none',
    '--raw',
    '--temperature',
    '0',
    '--max-tokens',
    '120'
  ]
  await check(
    'chat over three servers gives the reference text, and stdout nothing else',
    async () => {
      const { code, stdout, stderr } = await run(chat, PROMPT)
      same('The exit code', code, 0)
      same('stdout', stdout.replace(/\n$/, ''), referenceText())
      same('stderr', stderr, 'the answer was cut: --max-tokens is reached\n')
    }
  )
  await check(
    '--stats adds one line on stderr: tokens, speed, time to first token, route',
    async () => {
      const { code, stdout, stderr } = await run([...chat, '--stats'], PROMPT)
      same('The exit code', code, 0)
      same('stdout', stdout.replace(/\n$/, ''), referenceText())
      matches('stderr', stderr, /\b120 tokens\b.*\btokens?\/s\b.*\bfirst\b/)
      for (const blocks of SPANS) matches('stderr', stderr, new RegExp(`\\b${blocks}\\b`))
    }
  )
  await check('a prompt as an argument gives the same text again', async () => {
    const { stdout } = await run([...chat, PROMPT])
    same('stdout', stdout.replace(/\n$/, ''), referenceText())
  })
  await check('the same seed gives the same text', async () => {
    const sampled = [
      'chat',
      MODEL,
      ...via,
      '--here',
      'none',
      '--raw',
      '--temperature',
      '1',
      '--seed',
      '7'
    ]
    const texts = [
      await run([...sampled, '--max-tokens', '40'], PROMPT),
      await run([...sampled, '--max-tokens', '40'], PROMPT)
    ]
    same(
      'The exit codes',
      texts.map(({ code }) => code),
      [0, 0]
    )
    same('The second text', texts[1]?.stdout, texts[0]?.stdout)
  })
  await check('status shows that every block is served', async () => {
    same('The exit code', (await served(via, SPANS)).code, 0)
  })
  await check('a model that nobody knows ends with 3 and says what to do', async () => {
    const { code, stdout, stderr } = await run(['chat', 'no-such-model', PROMPT, ...via])
    same('The exit code', code, 3)
    same('stdout', stdout, '')
    matches('stderr', stderr, /no-such-model/)
  })
  await check('blocks that are out of bounds end with 2 and name the bounds', async () => {
    const { code, stderr } = await run(['join', MODEL, ...via, '--blocks', '0:99'])
    same('The exit code', code, 2)
    matches('stderr', stderr, new RegExp(`\\b${BLOCKS}\\b`))
  })

  const [first, second] = servers
  if (!first || !second) return
  await check('a server that is killed vanishes from status', async () => {
    second.signal('SIGKILL')
    await second.end(READY_MS)
    await served(via, ['0:2', '4:5'])
  })
  await check('chat without a server for some blocks ends with 5 and names them', async () => {
    const { code, stderr } = await run(chat, PROMPT)
    same(`The exit code (stderr: ${stderr.trimEnd()})`, code, 5)
    matches('stderr', stderr, /2:4|blocks? 2/)
  })
  await check('chat finds another server that takes the blocks over', async () => {
    const program = stack.use(start(['join', MODEL, ...via, '--blocks', '1:5'], '', 'server-1:5'))
    await program.match('stderr', /\bready\b/i, READY_MS)
    const { code, stdout } = await run(chat, PROMPT)
    same('The exit code', code, 0)
    same('stdout', stdout.replace(/\n$/, ''), referenceText())
  })
  await check('Ctrl-C ends a server at once, and it leaves status', async () => {
    first.signal('SIGINT')
    const { code } = await first.end(30_000)
    if (code !== 0 && code !== 130) throw new Error(`It ended with ${code}: ${first.stderr}`)
    if (groupLives(first.pid)) throw new Error('It left processes running')
    const { stdout } = await run(['status', MODEL, ...via, '--json'])
    if (spansOf(stdout).includes('0:2')) throw new Error(`It is still there: ${stdout}`)
  })
}

/** A file on one machine, its content id on the others: no hub is asked, and none is there. */
async function weights(stack: AsyncDisposableStack): Promise<void> {
  const program = stack.use(start(['bootstrap', '--port', '0'], '', 'bootstrap-weights'))
  const [, address = ''] = await program.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, READY_MS)
  const via = ['--bootstrap', address]
  const path = join(home, 'stories.gguf')
  writeFileSync(path, await storiesGgufBytes())
  await check('servers and a client take weights from a server that has the file', async () => {
    const join_ = (name: string, model: string, blocks: string): Program =>
      stack.use(start(['join', model, ...via, '--blocks', blocks], '', name))
    const first = join_('giver', path, '0:2')
    await first.match('stderr', /\bready\b/i, READY_MS)
    const { stdout } = await run(['status', path, ...via, '--json'], '', ANSWER_MS, 'giver')
    const { contentId } = JSON.parse(stdout) as { contentId: string }
    const others = [join_('taker', contentId, '2:4'), join_('taker-too', contentId, '3:5')]
    await Promise.all(others.map((each) => each.match('stderr', /\bready\b/i, READY_MS)))
    const options = ['--raw', '--temperature', '0', '--max-tokens', '40', '--head', 'f32']
    const chat = await run(['chat', contentId, ...via, ...options], PROMPT, ANSWER_MS, 'asker')
    same(`The exit code (stderr: ${chat.stderr.trimEnd()})`, chat.code, 0)
    same('stdout', referenceText().startsWith(chat.stdout.trimEnd()), true)
  })
}

/** Asks for the status until it has these spans: a busy server may answer one look too late. */
async function served(via: readonly string[], wanted: readonly string[]): Promise<Ending> {
  const end = performance.now() + ANSWER_MS
  for (;;) {
    const ending = await run(['status', MODEL, ...via, '--json'])
    const spans = spansOf(ending.stdout)
    if (Bun.deepEquals(spans, wanted)) return ending
    if (performance.now() > end) same('The served spans', spans, wanted)
  }
}

/** The served spans in a status, `start:end`, sorted. */
function spansOf(json: string): string[] {
  const { servers } = JSON.parse(json) as { servers: BlockSpan[] }
  return servers.map(({ start, end }) => `${start}:${end}`).sort()
}

async function main(): Promise<void> {
  copyFileSync(resolve(values.petals), petals)
  mkdirSync(home)
  await check('--version names the commit, the runtimes and the kernels', async () => {
    const { code, stdout } = await run(['--version'])
    same('The exit code', code, 0)
    const program = /^petals \d+\.\d+\.\d+ \([0-9a-f]{12}(-dirty)?, [a-z]+-[a-z0-9]+(-musl)?\)$/m
    matches('stdout', stdout, program)
    for (const name of ['bun', 'hyperdht']) {
      matches('stdout', stdout, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+$`, 'm'))
    }
    matches('stdout', stdout, /^kernels petals-\d+, (plain|avx2|avx512|amx|neon)$/m)
  })
  await check(
    'a cache that cannot be written is told with a way out, and --version needs none',
    async () => {
      writeFileSync(join(home, 'in-the-way'), '')
      const version = await run(['--version'], '', ANSWER_MS, 'in-the-way')
      same('The exit code of --version', version.code, 0)
      const { code, stderr } = await run(['bootstrap', '--port', '0'], '', ANSWER_MS, 'in-the-way')
      same('The exit code', code, 8)
      matches('stderr', stderr, /^error: .*in-the-way.*\n.*PETALS_HOME.*\n$/)
    }
  )
  await using stack = new AsyncDisposableStack()
  await swarm(stack)
  await weights(stack)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killPrograms()
    rmSync(folder, { recursive: true, force: true })
    process.exit(130)
  })
}

/** How many checks there are: those that a failed one kept from running have failed, too. */
const CHECKS = 16
try {
  await main()
  const files = readdirSync(folder).sort()
  if (!Bun.deepEquals(files, ['home', 'petals'])) console.log(`Left behind: ${files.join(', ')}`)
} catch (error) {
  console.log(error)
} finally {
  killPrograms()
  rmSync(folder, { recursive: true, force: true })
}
failed = Math.max(failed, CHECKS - passed)
const line = `${passed} passed, ${failed} failed`
if (values.result) writeFileSync(values.result, `${line}\n`)
else console.log(line)
process.exit(failed === 0 ? 0 : 1)
