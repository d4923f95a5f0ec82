// A private swarm of processes: whoever was invited uses it as the invite says, until it is taken
// back; a stranger finds nothing, and no output tells a secret.
import { expect, test } from 'bun:test'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, type Ending } from '../../../scripts/processes.ts'
import { readReferences } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000

interface More {
  env?: Record<string, string>
  input?: string
}

class Machine {
  readonly home: string
  readonly bootstrap: string
  /** Everything that its programs wrote on stderr. */
  told = ''

  constructor(home: string, bootstrap: string) {
    this.home = home
    this.bootstrap = bootstrap
  }

  start(args: readonly string[], more: More = {}): Program {
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: this.home,
      PETALS_HOME: this.home,
      PETALS_BOOTSTRAP: this.bootstrap,
      ...more.env
    }
    return new Program([process.execPath, main, ...args], { env, input: more.input ?? '' })
  }

  async run(args: readonly string[], more: More = {}): Promise<Ending> {
    await using program = this.start(args, more)
    const ending = await program.end(MS)
    this.told += ending.stderr
    return ending
  }

  async serve(blocks: string, swarm: string): Promise<Program> {
    const args = ['join', 'stories260k', '--blocks', blocks, '--debug']
    const program = this.start(args, { env: { PETALS_SWARM: swarm } })
    await program.match('stderr', /^ready\b/m, MS)
    return program
  }
}

test('a private swarm serves whom it invited, as far and as long as it did', async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => join(folder.path, name)
  await using bootstrap = new Program([process.execPath, main, 'bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  const [owner, box, alice, stranger] = ['owner', 'box', 'alice', 'stranger'].map(
    (name) => new Machine(at(name), address)
  ) as [Machine, Machine, Machine, Machine]

  await owner.run(['swarm', 'create', 'home'])
  const invite = async (...args: string[]): Promise<string> =>
    (await owner.run(['swarm', 'invite', 'home', ...args])).stdout.trim()
  const aliceInvite = await invite('--label', 'alice', '--may', 'chat', '--expires', '1d')
  const lateInvite = await invite('--label', 'late', '--expires', '1s')
  const boxFile = at('box.invite')
  await invite('--label', 'box', '--may', 'serve', '--out', boxFile)
  expect([(await stat(boxFile)).mode & 0o777, aliceInvite.split('\n').length]).toEqual([0o600, 1])
  for (const file of await readdir(at('owner/swarms'))) {
    expect((await stat(at(`owner/swarms/${file}`))).mode & 0o777).toBe(0o600)
  }

  await using first = await owner.serve('0:2', 'home')
  await using second = await box.serve('2:5', `@${boxFile}`)
  const [reference] = readReferences()
  const question = [
    reference?.prompt ?? '',
    '--here',
    'none',
    '--raw',
    '--temperature',
    '0',
    '--max-tokens',
    '60'
  ]
  const chat = (machine: Machine, swarm: readonly string[], more: More = {}): Promise<Ending> =>
    machine.run(['chat', 'stories260k', ...question, '--debug', ...swarm], more)

  const whole = await chat(alice, ['--swarm', '-'], { input: `${aliceInvite}\n` })
  const said = (reference?.prompt ?? '') + whole.stdout
  expect([whole.code, said.length > 150, reference?.text.startsWith(said)]).toEqual([0, true, true])

  const models = async (machine: Machine, swarm: readonly string[]): Promise<unknown> => {
    const { code, stdout } = await machine.run(['ls', '--json', ...swarm])
    return [code, JSON.parse(stdout)]
  }
  const whatIsServed = { name: 'stories260k', blockCount: 5, servers: 2, gaps: [] }
  expect(await models(alice, ['--swarm', aliceInvite])).toEqual([
    0,
    { models: [expect.objectContaining(whatIsServed)] }
  ])
  expect(await models(stranger, [])).toEqual([0, { models: [] }])
  expect((await owner.run(['swarm', 'list'])).stdout).toMatch(
    /^name {2}id {12}invites {2}valid\nhome {2}[0-9a-f]{12} {2}3 {8}2\n$/
  )

  const narrowed = await alice.run(['swarm', 'narrow', '-', '--tokens-per-day', '9'], {
    input: aliceInvite
  })
  const elsewhere = await alice.run(['swarm', 'narrow', aliceInvite, '--models', 'another'])
  const forged = aliceInvite.slice(0, -9) + aliceInvite.slice(-8) + 'y'
  const codes = {
    stranger: (await chat(stranger, [])).code,
    'a forged invite': (await chat(stranger, ['--swarm', forged])).code,
    'an expired invite': (await chat(stranger, ['--swarm', lateInvite])).code,
    'chat-only that serves': (await alice.run(['join', 'stories260k', '--swarm', aliceInvite]))
      .code,
    'serve-only that chats': (await chat(box, ['--swarm', boxFile])).code,
    'for another model': (await chat(alice, ['--swarm', elsewhere.stdout.trim()])).code,
    'more than its tokens': (await chat(alice, ['--swarm', narrowed.stdout.trim()])).code
  }
  expect(codes).toEqual({
    stranger: 5,
    'a forged invite': 4,
    'an expired invite': 8,
    'chat-only that serves': 8,
    'serve-only that chats': 8,
    'for another model': 8,
    'more than its tokens': 8
  })

  expect((await owner.run(['swarm', 'revoke', 'home', 'alice', 'box'])).code).toBe(0)
  // The owner's node brings the news to the servers, which pass it on.
  await owner.run(['status', 'stories260k', '--swarm', 'home'])
  expect((await second.end(MS)).code).toBe(8)
  const outcast = await chat(alice, [], { env: { PETALS_SWARM: narrowed.stdout.trim() } })
  expect({ code: outcast.code, told: outcast.stderr.includes('revoked') }).toEqual({
    code: 8,
    told: true
  })
  const members = (await owner.run(['swarm', 'members', 'home', '--json'])).stdout
  const { invites } = JSON.parse(members) as { invites: { label: string; state: string }[] }
  expect(invites.map(({ label, state }) => [label, state])).toEqual([
    ['alice', 'revoked'],
    ['late', 'expired'],
    ['box', 'revoked']
  ])

  first.signal('SIGTERM')
  expect((await first.end(MS)).code).toBe(0)
  const told = [owner, box, alice, stranger].map((machine) => machine.told).join('') + first.stderr
  const boxInvite = (await Bun.file(boxFile).text()).trim()
  for (const secret of [aliceInvite, boxInvite, narrowed.stdout.trim()]) {
    expect((told + second.stderr + members).includes(secret.slice(0, 40))).toBe(false)
  }
}, 240_000)

test('a private swarm meets on the local network without a bootstrap node', async () => {
  await using folder = await tempFolder()
  const owner = new Machine(join(folder.path, 'owner'), '')
  const guest = new Machine(join(folder.path, 'guest'), '')
  await owner.run(['swarm', 'create', 'home'])
  const invite = (await owner.run(['swarm', 'invite', 'home', '--may', 'chat'])).stdout.trim()
  await using server = owner.start(['join', 'stories260k', '--lan', '--swarm', 'home'])
  await server.match('stderr', /^ready\b/m, MS)
  const [reference] = readReferences()
  const args = ['--lan', '--here', 'none', '--raw', '--temperature', '0', '--max-tokens', '20']
  const chat = (swarm: Record<string, string>): Promise<Ending> =>
    guest.run(['chat', 'stories260k', reference?.prompt ?? '', ...args], { env: swarm })
  const answer = await chat({ PETALS_SWARM: invite })
  expect({ code: answer.code, stderr: answer.stderr }).toEqual({
    code: 0,
    stderr: 'the answer was cut: --max-tokens is reached\n'
  })
  expect(reference?.text.startsWith((reference?.prompt ?? '') + answer.stdout)).toBe(true)
  expect((await chat({})).code).toBe(6)
}, 240_000)
