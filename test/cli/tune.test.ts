// `petals tune` as a user meets it: killed, stopped, begun twice, gone on with otherwise, and with
// files that cannot be written. Whatever happens, the adapter is that of an undisturbed training,
// to the bit.
import { beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { watch } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, type Ending } from '../../scripts/processes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { EXIT } from '../../src/cli/exit.ts'
import { tempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(180_000)

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 120_000
const STEPS = 24
const PLAN = ['--here', 'all', '--yes', '--threads', '1', '--batch', '4']
const LINES = Array.from({ length: 16 }, (_, i) =>
  JSON.stringify({
    prompt: `Tom has ${i} dogs. Lily`,
    completion: ` has ${i + 1} cats and a ball.`
  })
).join('\n')

interface Place extends AsyncDisposable {
  readonly path: string
  readonly out: string
  tune(...args: readonly string[]): Program
  /** One that takes long. */
  long(...args: readonly string[]): Program
  adapter(): string
}

async function place(): Promise<Place> {
  const folder = await tempFolder()
  const { path } = folder
  writeFileSync(join(path, 'data.jsonl'), LINES)
  const out = join(path, 'out')
  const start = (...args: readonly string[]): Program =>
    new Program(
      [
        process.execPath,
        main,
        'tune',
        'stories260k',
        join(path, 'data.jsonl'),
        ...PLAN,
        '--out',
        out,
        ...args
      ],
      {
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: path,
          PETALS_HOME: join(path, 'home'),
          PETALS_BOOTSTRAP: '127.0.0.1:9'
        }
      }
    )
  return {
    path,
    out,
    tune: (...args) => start('--epochs', '6', ...args),
    long: (...args) => start('--epochs', '5000', ...args),
    adapter: () => readFileSync(join(out, 'adapter_model.safetensors')).toString('base64'),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]()
  }
}

async function ended(program: Program): Promise<Ending> {
  await using running = program
  return await running.end(MS)
}

/** Steps in the log. */
function logged(out: string): number {
  const path = join(out, 'log.jsonl')
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0
}

/** Waits for changes in a folder until `isEnough`, or until the program ends. */
async function whenChanged(
  out: string,
  program: Program,
  isEnough: (changes: number) => boolean
): Promise<void> {
  mkdirSync(out, { recursive: true })
  const over = new AbortController()
  void program.end(MS).finally(() => over.abort())
  let changes = 0
  try {
    for await (const _ of watch(out, { signal: over.signal })) if (isEnough(++changes)) return
  } catch (error) {
    if (!over.signal.aborted) throw error
  }
}

let expected = ''

beforeAll(async () => {
  await using own = await place()
  const { code, stdout, stderr } = await ended(own.tune())
  expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: `${own.out}\n` })
  expect(logged(own.out)).toBe(STEPS)
  expected = own.adapter()
})

describe('petals tune', () => {
  test('goes on after kill -9 at any moment, also while it saves, with the same bits', async () => {
    await using own = await place()
    const random = seededRandom(11)
    let kills = 0
    for (let tries = 0; tries < 6; tries++) {
      await using program = own.tune('--resume', '--save-every', '1')
      // Files are made, written and renamed: each of it is a change.
      const changes = 2 + random.below(24)
      await whenChanged(own.out, program, (count) => count >= changes)
      if (!program.over) kills++
      program.signal('SIGKILL')
      await program.end(MS)
    }
    expect(kills).toBeGreaterThan(2)
    const { code, stderr } = await ended(own.tune('--resume', '--save-every', '1'))
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(logged(own.out)).toBe(STEPS)
    expect(own.adapter()).toBe(expected)
    expect(readdirSync(own.out).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('keeps what it learnt at Ctrl-C, and goes on from there', async () => {
    await using own = await place()
    await using program = own.tune()
    await whenChanged(own.out, program, () => logged(own.out) > 2)
    program.signal('SIGINT')
    const { code, stderr } = await program.end(MS)
    expect({ code, stderr }).toEqual({
      code: EXIT.interrupted,
      stderr: expect.stringMatching(/stopped after \d+ of 24 steps.*--resume goes on/)
    })
    expect(own.adapter()).not.toBe(expected)
    expect((await ended(own.tune('--resume'))).code).toBe(0)
    expect(own.adapter()).toBe(expected)
  })

  test('refuses a folder that another one writes, or that holds something', async () => {
    await using own = await place()
    await using first = own.long()
    await whenChanged(own.out, first, () => logged(own.out) > 0)
    const second = await ended(own.tune('--resume'))
    expect(second).toMatchObject({ stdout: '' })
    expect(second.code).not.toBe(0)
    expect(second.stderr).toContain('another training writes it')
    expect(first.over).toBe(false)
    first.signal('SIGINT')
    await first.end(MS)
    const before = own.adapter()
    const third = await ended(own.tune())
    expect(third.code).not.toBe(0)
    expect(third.stderr).toMatch(/it holds a training[^]*--resume/)
    expect(own.adapter()).toBe(before)
  })

  test.each([
    ['rank', '4'],
    ['seed', '3'],
    ['lr', '0.5'],
    ['max-length', '99']
  ])('refuses to go on with another --%s', async (option, value) => {
    await using own = await place()
    await using program = own.tune()
    await whenChanged(own.out, program, () => logged(own.out) > 0)
    program.signal('SIGINT')
    await program.end(MS)
    const { code, stderr } = await ended(own.tune('--resume', `--${option}`, value))
    expect(code).not.toBe(0)
    expect(stderr).toMatch(new RegExp(`its '${option}' was .* and is ${value} now`))
  })

  test('waits while a file cannot be written, and loses nothing', async () => {
    await using own = await place()
    // Something stands in the checkpoint's place.
    const blocked = join(own.out, 'checkpoint.safetensors')
    await using program = own.tune('--save-every', '1000')
    await whenChanged(own.out, program, () => logged(own.out) > 0)
    mkdirSync(blocked)
    await program.match('stderr', /cannot be kept in .*: .*it is tried again/, MS)
    rmdirSync(blocked)
    expect((await program.end(MS)).code).toBe(0)
    expect(own.adapter()).toBe(expected)
  })
})
