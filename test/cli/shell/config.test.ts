import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { toAppError } from '../../../src/base/errors.ts'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { configFlags } from '../../../src/cli/config.ts'
import type { Flags } from '../../../src/cli/options.ts'
import { Program } from '../../../scripts/processes.ts'
import { tempFolder } from '../../support/temp-folder.ts'

function flagsOf(text: string, name = 'chat', env: Record<string, string> = {}): Flags {
  const command = COMMANDS.find((one) => one.name === name)!
  return configFlags(text, 'c.toml', { command, commands: COMMANDS, env })
}

function refusal(text: string): string {
  try {
    return JSON.stringify(flagsOf(text))
  } catch (error) {
    const { code, message, hint } = toAppError(error)
    return `${code}: ${message} / ${hint}`
  }
}

test('a file has options by their names: for all commands, or for one', () => {
  const text = `
threads = 2
no-peer-weights = true
[chat]
temperature = 0.2
system = "Be short"
file = ["a", "b"]
stats = true
[join]
threads = 8
memory = "8g"
`
  expect(flagsOf(text)).toEqual({
    threads: '2',
    peerWeights: false,
    temperature: '0.2',
    system: 'Be short',
    file: ['a', 'b'],
    stats: true
  })
  expect(flagsOf(text, 'join')).toEqual({ threads: '8', memory: '8g', peerWeights: false })
  expect(flagsOf(text, 'models')).toEqual({})
  expect(flagsOf('')).toEqual({})
})

test('what is installed as a service reads the file itself, each time it starts', () => {
  const text = 'threads = 2\nlog-level = "debug"\n[join]\nmemory = "8g"'
  expect(flagsOf(text, 'service')).toEqual({ logLevel: 'debug' })
  expect(refusal('[service]\nmemory = "8g"')).toContain('c.toml, [service]: there is no option')
})

test('the environment comes before the file', () => {
  const text = 'bootstrap = "127.0.0.1:1"\nswarm = "home"'
  expect(flagsOf(text, 'chat', { PETALS_SWARM: 'work' })).toEqual({ bootstrap: '127.0.0.1:1' })
})

test('what no command has is refused, with what was meant', () => {
  expect(refusal('temprature = 1')).toBe(
    "BAD_INPUT: c.toml: there is no option 'temprature' / Did you mean temperature?"
  )
  expect(refusal('[join]\ntemperature = 1')).toContain(
    "BAD_INPUT: c.toml, [join]: there is no option 'temperature'"
  )
  expect(refusal('[caht]\nseed = 1')).toContain("no command 'caht' / Did you mean [chat]?")
  expect(refusal('stats = 1')).toBe(
    "BAD_INPUT: c.toml: 'stats' cannot be used / Give true or false"
  )
  expect(refusal('seed = true')).toContain('Give a text or a number')
  expect(refusal('help = true')).toContain("there is no option 'help'")
  expect(refusal('a = = 1')).toContain('BAD_INPUT: c.toml cannot be used: ')
})

test('the program reads it from the data folder, and what is typed comes first', async () => {
  await using folder = await tempFolder()
  await folder.write('config.toml', new TextEncoder().encode('[chat]\nmax-tokens = 0\n'))
  const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
  const run = async (...args: string[]): Promise<string> => {
    const env = { PATH: process.env['PATH'] ?? '', PETALS_HOME: folder.path }
    await using program = new Program([process.execPath, main, 'chat', 'x', ...args], { env })
    return (await program.end(60_000)).stderr
  }
  expect(await run('hi')).toContain("--max-tokens cannot be '0'")
  expect(await run('hi', '--max-tokens', '5', '--seed', 'x')).toContain("--seed cannot be 'x'")
}, 60_000)
