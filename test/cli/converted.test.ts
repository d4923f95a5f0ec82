// The program on converted weights: models lists them, verify checks them, rm removes them.
import { afterAll, expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Ending, Program } from '../../scripts/processes.ts'
import { listConverted } from '../../src/model/store/converted-cache.ts'
import { identifyModel } from '../../src/model/store/identify.ts'
import { openModel } from '../../src/model/open-model.ts'
import { testEngine } from '../blocks/support/engine-helpers.ts'
import { hubRepo } from '../support/models/hub-repo.ts'
import { storiesGgufBytes } from '../support/models/remote-model.ts'
import { tempFolder } from '../support/temp-folder.ts'

const GGUF = await storiesGgufBytes()
const SHA256 = new Bun.CryptoHasher('sha256').update(GGUF).digest('hex')
const hub = await hubRepo({ files: { 'stories.gguf': GGUF } })
afterAll(() => hub[Symbol.asyncDispose]())

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

async function petals(home: string, ...args: readonly string[]): Promise<Ending> {
  await using program = new Program([process.execPath, main, ...args], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      PETALS_HOME: home,
      HF_ENDPOINT: hub.url
    },
    input: ''
  })
  return await program.end(60_000)
}

/** Loads blocks of the file as a server with this home would. */
async function convert(home: string, path: string): Promise<void> {
  const model = await openModel({ kind: 'gguf', paths: [path] })
  await identifyModel(model)
  using engine = testEngine({ store: { keep: { cacheDir: join(home, 'cache') } } })
  await engine.load({ location: model.location, start: 0, end: 2, quant: 'native' })
  model.close()
}

function spoil(home: string): void {
  const path = listConverted(join(home, 'cache'))[0]?.files[0]?.path ?? ''
  const bytes = readFileSync(path)
  bytes[bytes.length - 100]! ^= 1
  writeFileSync(path, bytes)
}

test('converted weights of a model in the cache go with it', async () => {
  await using folder = await tempFolder()
  const home = folder.path
  await petals(home, 'pull', 'some/model')
  const path = join(home, 'cache', 'models', SHA256, 'stories.gguf')
  await convert(home, path)
  const listed = await petals(home, 'models')
  expect(listed.stdout).toMatch(/^some\/model +1\.\d MiB {2}whole, and \d+\.\d KiB converted$/m)
  expect((await petals(home, 'verify', 'some/model')).code).toBe(0)
  spoil(home)
  const damaged = await petals(home, 'verify', 'some/model')
  expect({ code: damaged.code, stderr: damaged.stderr }).toEqual({
    code: 4,
    stderr: expect.stringContaining('of converted weights are thrown away') as string
  })
  expect((await petals(home, 'verify', 'some/model')).code).toBe(0)
  const source = readFileSync(path)
  source[source.length - 1]! ^= 1
  writeFileSync(path, source)
  expect((await petals(home, 'verify', 'some/model')).code).toBe(4)
  expect(listConverted(join(home, 'cache'))).toEqual([])
  await petals(home, 'pull', 'some/model')
  await convert(home, path)
  await petals(home, 'rm', 'some/model')
  expect((await petals(home, 'models')).stdout).toStartWith('No models')
}, 120_000)

test('converted weights of a file elsewhere are found by its path', async () => {
  await using folder = await tempFolder()
  await using elsewhere = await tempFolder()
  const home = folder.path
  const path = await elsewhere.write('stories.gguf', GGUF)
  await convert(home, path)
  const listed = await petals(home, 'models')
  expect(listed.stdout).toMatch(new RegExp(`^${path}(\\n| ) `))
  expect(listed.stdout).toMatch(/ KiB {2}converted, of what lies there$/m)
  const good = await petals(home, 'verify', path)
  expect({ code: good.code, stderr: good.stderr }).toEqual({
    code: 0,
    stderr: expect.stringMatching(/ converted of it are as they should be\n$/) as string
  })
  spoil(home)
  expect((await petals(home, 'verify', path)).code).toBe(4)
  const removed = await petals(home, 'rm', path)
  expect(removed.stderr).toStartWith(`removed what was converted of ${path}: `)
  expect(listConverted(join(home, 'cache'))).toEqual([])
}, 120_000)
