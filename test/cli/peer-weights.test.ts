// The program with a hub that is shut off: a third server and a client start from two servers that
// have different parts of a model, and say on whose word.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { type Ending, Program } from '../../scripts/processes.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import { spreadGgufBytes } from '../support/models/remote-model.ts'
import { readReferences } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'

const MIB = 2 ** 20
const GGUF = await spreadGgufBytes(2 * MIB)
const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

test('a third server and a client start without the hub', async () => {
  await using folder = await tempFolder()
  const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
  const petals = (name: string, args: readonly string[]): Program => {
    const home = join(folder.path, name)
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, PETALS_HOME: home }
    return new Program([process.execPath, main, ...args], {
      env: { ...env, HF_ENDPOINT: hub.url },
      input: ''
    })
  }
  const run = async (name: string, args: readonly string[]): Promise<Ending> => {
    await using program = petals(name, args)
    return await program.end(60_000)
  }
  await using bootstrap = petals('bootstrap', ['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, 30_000)
  const via = ['--bootstrap', address]
  const serve = (blocks: string, ...more: string[]): Program =>
    petals(blocks, ['join', 'some/model', ...via, '--blocks', blocks, ...more])
  await using first = serve('0:3')
  await using second = serve('3:5')
  for (const server of [first, second]) await server.match('stderr', /^ready\b/m, 60_000)
  const status = await run('0:3', ['status', 'some/model', ...via, '--json'])
  const { contentId } = JSON.parse(status.stdout) as { contentId: string }
  await hub[Symbol.asyncDispose]()

  await using third = serve('1:4', '--upload-limit', '1m')
  await third.match('stderr', /^ready\b/m, 60_000)
  expect(third.stderr).toContain(
    `warning: 'some/model' is taken for the model ${contentId} on the word of 2 servers`
  )
  const { prompt, text, ids } = readReferences()[0]!
  const args = ['--raw', '--temperature', '0', '--max-tokens', String(ids.length), '--head', 'f32']
  // By its content id, which nobody can give another model for.
  const chat = await run('client', ['chat', contentId, prompt, ...via, ...args])
  expect({ code: chat.code, stdout: chat.stdout }).toEqual({ code: 0, stdout: text })
  const models = await run('1:4', ['models'])
  expect(models.stdout).toMatch(/^some\/model .* % of 11\.0 MiB, .* of it on the word of peers/m)
  const pulled = await run('client', ['pull', contentId, '--blocks', '2:4', ...via])
  expect(pulled.code).toBe(0)
  const verified = await run('client', ['verify', contentId])
  expect({ code: verified.code, stderr: verified.stderr }).toEqual({
    code: 0,
    stderr: expect.stringContaining('are as peers gave them') as string
  })
  expect((await run('client', ['rm', contentId])).code).toBe(0)
  expect((await run('client', ['models'])).stdout).toStartWith('No models')
}, 120_000)
