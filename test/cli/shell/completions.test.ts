// What shells complete, and the manual: made of the commands as they are declared.
import { expect, test } from 'bun:test'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { EXITS } from '../../../src/cli/exit.ts'
import { ENVIRONMENT } from '../../../src/cli/help.ts'
import { completionScript, optionsOf } from '../../../src/cli/shell/completions.ts'
import { manPage } from '../../../src/cli/shell/man-page.ts'

/** What bash offers for the last of the words. */
async function offered(...words: string[]): Promise<string[]> {
  const script = `${completionScript('bash', COMMANDS)}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _petals
printf '%s\\n' "\${COMPREPLY[@]}"`
  const child = Bun.spawn(['bash', '--norc', '-c', script, 'bash', 'petals', ...words], {
    cwd: import.meta.dir,
    stderr: 'pipe'
  })
  const text = await new Response(child.stdout).text()
  expect(await new Response(child.stderr).text()).toBe('')
  return text.split('\n').filter((word) => word !== '')
}

test('bash completes commands, options, models, choices and files', async () => {
  expect(await offered('pl')).toEqual(['plan'])
  expect(await offered('chat', '--max-t')).toEqual(['--max-tokens'])
  expect(await offered('chat', '--no-pre')).toEqual(['--no-prefix-cache'])
  expect(await offered('chat', 'smoll')).toContain('smollm2-135m')
  expect(await offered('chat', '--wire', 'i')).toEqual(['int8'])
  expect(await offered('swarm', 're')).toEqual(['revoke'])
  expect(await offered('chat', '--session', 'comple')).toEqual(['completions.test.ts'])
  expect(await offered('--log-level', 'debug', 'chat', '--max-t')).toEqual(['--max-tokens'])
  // A value that only its person knows.
  expect(await offered('chat', '--seed', '')).toEqual([])
})

test('every option of every command is in each script and in the manual', () => {
  const manual = manPage(COMMANDS, { version: '1.2.3', environment: ENVIRONMENT, exits: EXITS })
  const scripts = {
    bash: (name: string) => `--${name}`,
    zsh: (name: string) => `--${name}[`,
    fish: (name: string) => ` -l ${name} `
  }
  for (const { options } of COMMANDS) {
    for (const { name } of optionsOf(options)) {
      expect(manual).toContain(`\\fB\\-\\-${name.replaceAll('-', '\\-')}\\fR`)
      for (const shell of ['bash', 'zsh', 'fish'] as const) {
        expect(completionScript(shell, COMMANDS)).toContain(scripts[shell](name))
      }
    }
  }
})

test('text of declarations cannot end a quote, nor give orders to man', () => {
  const odd = { ...COMMANDS[0]!, about: `it's [a] "b": \\c`, examples: ['.so /etc/passwd'] }
  expect(completionScript('zsh', [odd])).toContain(`'bootstrap:it'\\''s [a] "b": \\c'`)
  expect(completionScript('fish', [odd])).toContain(`-d 'it\\'s [a] "b": \\\\c'`)
  const manual = manPage([odd], { version: '1', environment: [], exits: [] })
  expect(manual).toContain('\n\\&.so /etc/passwd\n')
  expect(manual).toContain('\nit\'s [a] "b": \\ec\n')
})
