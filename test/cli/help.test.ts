import { expect, test } from 'bun:test'
import { typedName } from '../../src/cli/command.ts'
import { COMMANDS } from '../../src/cli/commands.ts'
import { helpText } from '../../src/cli/help.ts'

test("a command's help begins with what it does and ends with the exit codes", () => {
  const join = COMMANDS.find(({ name }) => name === 'join')
  const parts = helpText(join, COMMANDS).trimEnd().split('\n\n')
  expect(parts.map((part) => part.split('\n')[0])).toEqual([
    'Serve blocks of a model',
    'Usage:',
    'Options:',
    'Examples:',
    expect.stringMatching(/^MODEL is an alias/),
    'Exit codes:'
  ])
  expect(parts[1]).toBe('Usage:\n  $ petals join <MODEL>')
})

test('the list of commands names what their words are', () => {
  const text = helpText(undefined, COMMANDS)
  expect(text).toContain('\n  rm MODEL               Remove a model from the cache\n')
  expect(text).toContain('\n  chat [MODEL] [PROMPT]  Ask, or talk on a terminal\n')
})

test('every option says what it is for, and every command has a line', () => {
  for (const command of COMMANDS) {
    const { name, about, options } = command
    const text = helpText(command, COMMANDS)
    expect({ name, tells: about.length > 10 }).toEqual({ name, tells: true })
    for (const [key, { help, kind }] of Object.entries(options)) {
      const typed = `--${kind === 'off' ? 'no-' : ''}${typedName(key)}`
      expect({
        typed,
        tells: help.length > 5,
        shown: new RegExp(`^  (-\\w, )?${typed}\\b`, 'm').test(text)
      }).toEqual({
        typed,
        tells: true,
        shown: true
      })
    }
  }
})

test('on a terminal of 80 columns no line is wider, and no word is broken', () => {
  for (const command of [undefined, ...COMMANDS]) {
    const { name, options = {}, examples = [] } = command ?? {}
    const text = helpText(command, COMMANDS, 80)
    const isExample = (line: string): boolean => examples.some((one) => line.trim() === one)
    const wide = text.split('\n').filter((line) => line.length > 80 && !isExample(line))
    expect({ name, wide }).toEqual({ name, wide: [] })
    const flat = text.replaceAll(/\s+/g, ' ')
    for (const { help } of Object.values(options)) expect(flat).toContain(help)
  }
})
