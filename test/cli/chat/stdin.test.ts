import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Program } from '../../../scripts/processes.ts'
import { tempFolder } from '../../support/temp-folder.ts'
import { useOfStdin, type StdinFacts } from '../../../src/cli/chat/stdin.ts'

const facts = (kind: StdinFacts['kind'], more: Partial<StdinFacts> = {}): StdinFacts => ({
  kind,
  isBegun: false,
  isLoop: false,
  ...more
})

const ALL: readonly StdinFacts[] = [
  facts('terminal'),
  facts('none'),
  facts('file'),
  facts('file', { isBegun: true }),
  facts('pipe'),
  facts('pipe', { isLoop: true }),
  facts('socket'),
  facts('device')
]

test('beside words a whole file and a pipe are read, and nothing that is somebody else’s', () => {
  expect(ALL.map((one) => useOfStdin(one, 'Summarise').isRead)).toEqual([
    false,
    false,
    true,
    false,
    true,
    false,
    false,
    false
  ])
})

test('without words everything but a terminal is the prompt', () => {
  expect(ALL.map((one) => useOfStdin(one, undefined).isRead)).toEqual([
    false,
    false,
    true,
    true,
    true,
    true,
    true,
    true
  ])
})

test('a socket that is not read is told, a folder is refused', () => {
  expect(useOfStdin(facts('socket'), 'Summarise').note).toContain('stdin is a socket')
  for (const words of [undefined, 'Summarise']) {
    expect(() => useOfStdin(facts('folder'), words)).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT' })
    )
  }
})

test('a pipe that a shell reads lines from is known as a loop’s, whatever stands between', async () => {
  await using folder = await tempFolder()
  const source = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'chat', 'stdin.ts')
  const program = `import { stdinFacts } from ${JSON.stringify(source)}
    console.log(process.argv[2], stdinFacts().isLoop)`
  await folder.write('facts.ts', new TextEncoder().encode(program))
  await folder.write('lines', new TextEncoder().encode('one\n'))
  await folder.write('script', new TextEncoder().encode('$F script\n:\n'))
  const loop = (name: string): string => `while read l; do ${name}; done`
  const lines = [
    `cat lines | ${loop('$F piped')}`,
    `cat lines | ${loop('timeout 60 nice $F wrapped')}`,
    `cat lines | ${loop("sh -c '$F nested; :'")}`,
    `${loop('$F heredoc')} <<END\none\nEND`,
    'cat lines | $F plain',
    'cat lines | timeout 60 $F timeout',
    'cat lines | { $F group; }',
    'cat lines | sh script'
  ]
  const path = process.env['PATH'] ?? ''
  const env = { PATH: path, F: `${process.execPath} ${join(folder.path, 'facts.ts')}` }
  await using shell = new Program(['sh', '-c', lines.join('\n')], { env, cwd: folder.path })
  const { stdout } = await shell.end(60_000)
  expect(stdout.trim().split('\n')).toEqual([
    'piped true',
    'wrapped true',
    'nested true',
    'heredoc true',
    'plain false',
    'timeout false',
    'group false',
    'script false'
  ])
}, 120_000)
