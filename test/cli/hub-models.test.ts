// The program on a hub's model: pull, models, verify, rm, and a swarm whose members have fetched
// their own parts alone.
import { afterAll, expect, test } from 'bun:test'
import { openSync, readSync, writeSync, closeSync } from 'node:fs'
import { join } from 'node:path'
import { type Ending, Program } from '../../scripts/processes.ts'
import { heldBytesOf } from '../../src/model/store/cache-usage.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import { spreadGgufBytes } from '../support/models/remote-model.ts'
import { readReferences } from '../support/models/stories.ts'
import { openMappedFile } from '../../src/model/formats/mapped-file.ts'
import { tempFolder } from '../support/temp-folder.ts'

const MIB = 2 ** 20
const GGUF = await spreadGgufBytes(2 * MIB)
const SHA256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
afterAll(() => hub[Symbol.asyncDispose]())

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

function petals(home: string, args: readonly string[], env: Record<string, string> = {}): Program {
  return new Program([process.execPath, main, ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      PETALS_HOME: home,
      HF_ENDPOINT: hub.url,
      ...env
    },
    input: ''
  })
}

async function run(
  home: string,
  args: readonly string[],
  env: Record<string, string> = {}
): Promise<Ending> {
  await using program = petals(home, args, env)
  return await program.end(60_000)
}

const weights = (home: string): string => join(home, 'cache', 'models', SHA256, 'stories.gguf')

test('pull brings blocks, then all; models, verify and rm tell of it', async () => {
  await using folder = await tempFolder()
  const home = folder.path
  const nothing = await run(home, ['models'])
  expect(nothing.stdout).toBe(`No models in ${join(home, 'cache')}\n`)
  const part = await run(home, ['pull', 'some/model', '--blocks', '1:3'])
  expect({ code: part.code, stderr: part.stderr }).toEqual({
    code: 0,
    stderr: 'blocks 1:3 of some/model are here: 355.0 KiB\n'
  })
  expect(await heldBytesOf(weights(home))).toBeLessThan(4 * MIB)
  const listed = JSON.parse((await run(home, ['models', '--json'])).stdout) as {
    models: { model: string; bytes: number; ofBytes: number }[]
  }
  expect(listed.models).toEqual([
    expect.objectContaining({ model: 'some/model', ofBytes: GGUF.byteLength }) as never
  ])
  expect((await run(home, ['models'])).stdout).toMatch(
    /^some\/model +\S+ MiB {2}\S+ % of 11\.0 MiB$/m
  )
  expect((await run(home, ['verify', 'some/model'])).stderr).toMatch(
    /is as it should be: .* checked/
  )
  expect((await run(home, ['pull', 'some/model'])).code).toBe(0)
  expect((await run(home, ['models'])).stdout).toMatch(/^some\/model +11\.0 MiB {2}whole$/m)
  expect((await run(home, ['verify', 'some/model'])).code).toBe(0)
  const open = openMappedFile(weights(home))
  expect((await run(home, ['models'])).stdout).toMatch(/^some\/model .* whole, in use$/m)
  const refused = await run(home, ['rm', 'some/model'])
  expect({ code: refused.code, stderr: refused.stderr }).toEqual({
    code: 7,
    stderr: expect.stringMatching(/^error: some\/model, 11\.0 MiB cannot be removed: .* uses it\n/)
  })
  open.close()
  const removed = await run(home, ['rm', 'some/model'])
  expect(removed.stderr).toMatch(/^removed some\/model: 11\.0 MiB$/m)
  expect((await run(home, ['models'])).stdout).toStartWith('No models')
  const again = await run(home, ['rm', 'some/model'])
  expect({ code: again.code, stderr: again.stderr }).toEqual({
    code: 3,
    stderr: "error: Nothing of 'some/model' is in the cache\n  petals models lists what is there\n"
  })
}, 120_000)

test('verify finds one wrong bit of a part and of a whole, and pull mends it', async () => {
  await using folder = await tempFolder()
  const home = folder.path
  const flip = (at: number): void => {
    const file = openSync(weights(home), 'r+')
    const byte = new Uint8Array(1)
    readSync(file, byte, 0, 1, at)
    byte[0]! ^= 1
    writeSync(file, byte, 0, 1, at)
    closeSync(file)
  }
  for (const blocks of [['--blocks', '0:1'], []]) {
    const pull = ['pull', 'some/model', ...blocks]
    await run(home, pull)
    flip(500_000)
    const found = await run(home, ['verify', 'some/model'])
    expect({ code: found.code, stderr: found.stderr }).toEqual({
      code: 4,
      stderr: expect.stringContaining('some/model was damaged') as string
    })
    expect((await run(home, pull)).code).toBe(0)
    expect((await run(home, ['verify', 'some/model'])).code).toBe(0)
  }
}, 120_000)

test('a pull that was killed is gone on with by the next', async () => {
  await using folder = await tempFolder()
  const home = folder.path
  let isSlow = true
  const asked = Promise.withResolvers<void>()
  const slow = await hubRepo({
    files: { 'stories.gguf': GGUF },
    // The header comes; of what follows only a beginning.
    onstore(_, reply, index) {
      if (!isSlow || index === 0) return reply
      asked.resolve()
      return { ...reply, stallAfter: 600_000 }
    }
  })
  await using _ = slow
  const env = { HF_ENDPOINT: slow.url }
  await using killed = petals(home, ['pull', 'some/model'], env)
  await asked.promise
  killed.signal('SIGKILL')
  await killed.end(60_000)
  isSlow = false
  expect((await run(home, ['pull', 'some/model'], env)).code).toBe(0)
  expect((await run(home, ['verify', 'some/model'], env)).code).toBe(0)
}, 120_000)

test('a refusal ends with its own exit code and says what to do', async () => {
  await using folder = await tempFolder()
  const gated = await hubRepo({ files: { 'stories.gguf': GGUF }, token: 'secret' })
  await using _ = gated
  const env = { HF_ENDPOINT: gated.url }
  const denied = await run(folder.path, ['pull', 'some/model'], env)
  expect({ code: denied.code, stderr: denied.stderr }).toEqual({
    code: 8,
    stderr: expect.stringContaining(`Accept its licence at ${gated.url}/some/model`) as string
  })
  const none = await run(folder.path, ['status', 'no/such'], env)
  expect({ code: none.code, stderr: none.stderr }).toEqual({
    code: 3,
    stderr: expect.stringContaining("There is no 'no/such' on the hub") as string
  })
  const small = await run(folder.path, ['pull', 'some/model', '--disk', '2m'])
  expect({ code: small.code, stderr: small.stderr }).toEqual({
    code: 6,
    stderr: expect.stringContaining('of the 2.0 MiB that they may') as string
  })
  await folder.write('hf/token', 'secret\n')
  const logged = { ...env, HF_HOME: join(folder.path, 'hf') }
  expect((await run(folder.path, ['pull', 'some/model', '--blocks', '0:1'], logged)).code).toBe(0)
}, 120_000)

test('servers and a client that each have their own part of a model talk as one that has all', async () => {
  await using folder = await tempFolder()
  const home = (name: string): string => join(folder.path, name)
  await using bootstrap = petals(home('bootstrap'), ['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, 30_000)
  const join_ = (blocks: string): Program =>
    petals(home(blocks), ['join', 'some/model', '--bootstrap', address, '--blocks', blocks])
  await using first = join_('0:2')
  await using second = join_('2:5')
  await Promise.all([first, second].map((each) => each.match('stderr', /^ready\b/m, 60_000)))
  const { prompt, text, ids } = readReferences()[0]!
  const args = ['--raw', '--temperature', '0', '--max-tokens', String(ids.length), '--head', 'f32']
  await using chat = petals(home('client'), [
    'chat',
    'some/model',
    prompt,
    '--bootstrap',
    address,
    ...args
  ])
  const { code, stdout, stderr } = await chat.end(60_000)
  const cut = 'the answer was cut: --max-tokens is reached\n'
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: text, stderr: cut })
  const held = await Promise.all(
    ['0:2', '2:5', 'client'].map((name) => heldBytesOf(weights(home(name))))
  )
  // The first look at a header is 1 MiB; of blocks that lie 2 MiB apart none has those of others.
  const inMiB = held.map((bytes) => Math.round((10 * bytes) / MIB) / 10)
  expect(inMiB).toEqual([1.8, 2.3, 1])
}, 120_000)
