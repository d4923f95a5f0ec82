// What was typed, as commands get it: text as it was typed, the last of a repeated option, and
// words of help for what is mistyped.
import { expect, test } from 'bun:test'
import { readArguments, type Typed } from '../../src/cli/argv.ts'
import { COMMANDS } from '../../src/cli/commands.ts'

const read = (...words: string[]): Typed => readArguments(words, COMMANDS)

const flagsOf = (...words: string[]): unknown => read('chat', ...words).flags

/** Message and hint of what is refused. */
function refusal(...words: string[]): string {
  try {
    return JSON.stringify(read(...words))
  } catch (thrown) {
    const { code, message, hint } = thrown as { code: string; message: string; hint: string }
    return `${code}: ${message} / ${hint}`
  }
}

test('a value is the text that was typed, whatever number it looks like', () => {
  expect(
    flagsOf(
      '--system',
      '',
      '--session',
      '2024.10',
      '--draft',
      '007',
      '--seed',
      '1e3',
      '--head=0x10'
    )
  ).toEqual({ system: '', session: '2024.10', draft: '007', seed: '1e3', head: '0x10' })
  expect(read('swarm', 'revoke', 'home', '007', '1.0', '0x1').words).toEqual([
    'revoke',
    'home',
    '007',
    '1.0',
    '0x1'
  ])
})

test('an empty value behind an equals sign does not take the next word', () => {
  expect(read('chat', '--system=', 'stories260k', 'Hi')).toMatchObject({
    words: ['stories260k', 'Hi'],
    flags: { system: '' }
  })
})

test('a value may hold equals signs, spaces and the words true and false', () => {
  expect(flagsOf('--system', '=a=b', '--session==', '--draft', 'false', '--head', 'true')).toEqual({
    system: '=a=b',
    session: '=',
    draft: 'false',
    head: 'true'
  })
})

test('of an option that is given twice the last holds, with and without a value', () => {
  expect(flagsOf('--seed', '1', '--system', 'a', '--seed', '2', '--system=b')).toEqual({
    seed: '2',
    system: 'b'
  })
  expect(
    read('join', 'm', '--bootstrap', '127.0.0.1:1', '--bootstrap', '127.0.0.2:2').flags
  ).toEqual({ bootstrap: '127.0.0.2:2' })
  expect(flagsOf('--stats', '--stats', '--raw', '--raw=false')).toEqual({ stats: true, raw: false })
})

test('an option for several values has all of them, in order', () => {
  expect(flagsOf('--file', 'a', 'm', '--file=b', '-x')).toEqual({ file: ['a', 'b'], extract: true })
  expect(refusal('chat', '--file')).toContain('BAD_INPUT: --file has no value')
})

test('an option without a value takes no word with it', () => {
  expect(read('doctor', '--install-cuda', '--json')).toMatchObject({
    words: [],
    flags: { installCuda: true, json: true }
  })
  expect(read('chat', '--no-prefix-cache', 'true', '--stats', 'false')).toMatchObject({
    words: ['true', 'false'],
    flags: { prefixCache: false, stats: true }
  })
})

test('a value that begins with a dash is one where it looks like no option', () => {
  expect(
    flagsOf('--temperature', '-1', '--top-p', '-.5', '--swarm', '-', '--system', '- be short')
  ).toEqual({ temperature: '-1', topP: '-.5', swarm: '-', system: '- be short' })
  expect(refusal('chat', '--system', '--raw')).toContain('BAD_INPUT: --system has no value')
  expect(refusal('chat', '--system')).toContain('BAD_INPUT: --system has no value')
})

test('words behind two dashes are words, and a lone dash is one', () => {
  expect(read('chat', 'm', '--', '--raw', '-1').words).toEqual(['m', '--raw', '-1'])
  expect(read('swarm', 'show', '-').words).toEqual(['show', '-'])
})

test('options may stand before the command', () => {
  const { command, flags, words } = read('--debug', '--bootstrap', '127.0.0.1:1', 'chat', 'm')
  expect([command?.name, flags, words]).toEqual([
    'chat',
    { debug: true, bootstrap: '127.0.0.1:1' },
    ['m']
  ])
})

test('a mistyped command or option is told with the one that was meant', () => {
  const meant = [
    ['chta'],
    ['list'],
    ['run', 'm'],
    ['serve', 'm'],
    ['xyzzy'],
    ['chat', '--temprature', '0'],
    ['chat', '--max-token', '3'],
    ['join', 'm', '--peer-weights'],
    ['chat', '-t', '0']
  ].map((words) => refusal(...words))
  expect(meant).toEqual([
    "BAD_INPUT: There is no command 'chta' / Did you mean petals chat? petals --help lists them",
    "BAD_INPUT: There is no command 'list' / Did you mean petals models? petals --help lists them",
    "BAD_INPUT: There is no command 'run' / Did you mean petals chat? petals --help lists them",
    "BAD_INPUT: There is no command 'serve' / Did you mean petals join? petals --help lists them",
    "BAD_INPUT: There is no command 'xyzzy' / petals --help lists them",
    'BAD_INPUT: There is no option --temprature / Did you mean --temperature? petals chat --help lists them',
    'BAD_INPUT: There is no option --max-token / Did you mean --max-tokens? petals chat --help lists them',
    'BAD_INPUT: There is no option --peer-weights / Did you mean --no-peer-weights? petals join --help lists them',
    'BAD_INPUT: There is no option -t / petals chat --help lists them'
  ])
})

test('names that lie in every object are words like others', () => {
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf']) {
    expect(refusal(name)).toBe(
      `BAD_INPUT: There is no command '${name}' / petals --help lists them`
    )
    expect(readArguments(['chat', name], COMMANDS).words).toEqual([name])
    expect(refusal('chat', `--${name}`)).toStartWith('BAD_INPUT: There is no option --')
    expect(refusal('chat', `--${name}=1`)).toStartWith('BAD_INPUT: There is no option --')
  }
  expect(refusal('chat', '--seed.constructor=1')).toStartWith('BAD_INPUT: There is no option')
})

test('words too few or too many are told by name', () => {
  expect(refusal('tune', 'm')).toBe('BAD_INPUT: petals tune needs a DATA / petals tune MODEL DATA')
  expect([refusal('join'), refusal('rm', 'a', 'b'), refusal('models', 'x')]).toEqual([
    'BAD_INPUT: petals join needs a MODEL / petals join MODEL',
    "BAD_INPUT: There are too many words: 'b' / petals rm MODEL takes no more; petals rm --help tells the rest",
    "BAD_INPUT: There are too many words: 'x' / petals models takes no more; petals models --help tells the rest"
  ])
  expect(refusal('chat', '-1')).toContain('petals chat -- -1')
})

test('an option that takes no value refuses one', () => {
  expect(refusal('chat', '--stats=yes')).toContain("--stats takes no value: 'yes'")
  expect(refusal('chat', '--no-speculate=1')).toContain('BAD_INPUT')
})

test('help and version are options and words', () => {
  const asked = [
    read('help'),
    read('help', 'chat'),
    read('chat', '-h'),
    read('chat', 'a', 'b', '--help')
  ]
  expect(asked.map(({ command, flags }) => [command?.name, flags['help']])).toEqual([
    [undefined, true],
    ['chat', true],
    ['chat', true],
    ['chat', true]
  ])
  expect([read('version').flags, read('-v').flags, read('--version').flags]).toEqual([
    { version: true },
    { version: true },
    { version: true }
  ])
  expect([read().command, read('--debug').flags]).toEqual([undefined, { debug: true }])
})
