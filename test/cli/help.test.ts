import { expect, test } from 'bun:test'
import { fitArguments } from '../../src/cli/argv.ts'
import { declareCommands } from '../../src/cli/commands.ts'
import { helpSections } from '../../src/cli/help.ts'

function fit(...words: string[]): string[] {
  return fitArguments(['petals', 'main', ...words]).slice(2)
}

test('a negative number behind an option is its value', () => {
  expect(fit('chat', 'm', '--temperature', '-1', '--top-p', '-.5', '--seed=-3')).toEqual([
    'chat',
    'm',
    '--temperature=-1',
    '--top-p=-.5',
    '--seed=-3'
  ])
})

test('a short option, and a number that no option stands before, stay as they are', () => {
  expect(fit('chat', '--stats', '-h', '-1')).toEqual(['chat', '--stats', '-h', '-1'])
})

test('a dash is the invite on stdin', () => {
  expect([fit('chat', '--swarm', '-'), fit('swarm', 'show', '-')]).toEqual([
    ['chat', '--swarm=-'],
    ['swarm', 'show', '@-']
  ])
})

test("a command's help begins with what it does and ends with the exit codes", () => {
  const made = [
    { body: 'petals' },
    { title: 'Usage', body: '  $ petals join <MODEL>' },
    { title: 'Options', body: '  --no-speculate  Guess nothing (default: true)\n  --lan  Near ' }
  ]
  const sections = helpSections(made, 'Serve blocks of a model')
  expect(sections.map(({ title, body }) => title ?? body.split('\n')[0])).toEqual([
    'Serve blocks of a model',
    'Usage',
    'Options',
    expect.stringMatching(/^MODEL is an alias/),
    'Exit codes:'
  ])
  expect(sections[2]?.body).toBe('  --no-speculate  Guess nothing\n  --lan  Near')
})

test('the list of commands names what their words are', () => {
  const made = [
    { body: 'petals' },
    { title: 'Commands', body: '  rm <MODEL>        Remove it\n  chat [...words]  Ask' }
  ]
  expect(helpSections(made, undefined)[1]?.body).toBe(
    '  rm MODEL               Remove it\n  chat [MODEL] [PROMPT]  Ask'
  )
})

test('every option says what it is for, and every command has a line', () => {
  const cli = declareCommands(() => {})
  for (const { name, description, options } of cli.commands) {
    expect({ name, tells: description.length > 10 }).toEqual({ name, tells: true })
    for (const { rawName, description: text } of options) {
      expect({ name, rawName, tells: text.length > 5 }).toEqual({ name, rawName, tells: true })
    }
  }
})
