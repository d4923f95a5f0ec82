// The completion scripts in the shells themselves, where they are installed: what they offer for
// the last word of a line.
import { expect, test } from 'bun:test'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { completionScript } from '../../../src/cli/shell/completions.ts'
import { tempFolder, type TempFolder } from '../../support/temp-folder.ts'

const MS = 60_000
const LEVELS = ['debug', 'error', 'info', 'warn']

/** Lines, and all that is offered for the last word of each. */
const OFFERED: readonly (readonly [string, readonly string[]])[] = [
  ['petals ', COMMANDS.map(({ name }) => name).toSorted()],
  ['petals pl', ['plan']],
  ['petals --log-level ', LEVELS],
  ['petals --lo', ['--log-format', '--log-level']],
  ['petals chat --max-t', ['--max-tokens']],
  ['petals chat m --no-', ['--no-peer-weights', '--no-prefix-cache', '--no-speculate']],
  ['petals chat smoll', ['smollm2-135m']],
  ['petals chat --device ', ['cpu', 'cuda', 'webgpu']],
  ['petals --log-level debug chat --wi', ['--wire']],
  ['petals service ', ['install', 'remove', 'status']],
  ['petals chat --session ', ['file.json']]
]

async function run(command: readonly string[], folder: TempFolder): Promise<string> {
  const child = Bun.spawn([...command], {
    cwd: join(folder.path, 'here'),
    env: { ...process.env, HOME: folder.path, TERM: 'xterm' },
    stdin: 'ignore',
    stderr: 'pipe'
  })
  const [text, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text()
  ])
  expect({ code: await child.exited, error }).toEqual({ code: 0, error: '' })
  return text
}

/** A folder with one file to complete, and the script. */
async function prepared(shell: 'zsh' | 'fish', name: string): Promise<TempFolder> {
  const folder = await tempFolder()
  await mkdir(join(folder.path, 'here'))
  await folder.write('here/file.json', new Uint8Array())
  await folder.write(`script/${name}`, Buffer.from(completionScript(shell, COMMANDS)))
  return folder
}

test.skipIf(Bun.which('fish') === null)(
  'fish completes commands, options, models, choices and files',
  async () => {
    await using folder = await prepared('fish', 'petals.fish')
    const script = `source '${join(folder.path, 'script', 'petals.fish')}'; complete -C $argv[1]`
    for (const [line, expected] of OFFERED) {
      const text = await run(['fish', '--no-config', '-c', script, line], folder)
      const words = text.split('\n').flatMap((each) => each.split('\t')[0] || [])
      expect({ line, words: words.toSorted() }).toEqual({ line, words: [...expected] })
    }
  },
  2 * MS
)

// zsh completes in its line editor alone: one is run on a terminal of its own, where all that
// completers add is printed between marks.
const ZSH = String.raw`
zmodload zsh/zpty
zpty editor zsh -f -i
zpty -w editor 'PROMPT=; unsetopt prompt_cr prompt_sp'
zpty -w editor "fpath=(\${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w editor 'compadd() {
  local -a words_added
  if [[ " $* " == *\ -(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  builtin compadd -O words_added "$@"
  print -rl -- "<word>"\${^words_added}"</word>"
  builtin compadd "$@"
}'
zpty -w editor 'told() { zle complete-word; print -r -- "<e""nd>"; exit }; zle -N told; bindkey "^I" told'
zpty -w editor 'print -r -- "<re""ady>"'
zpty -r -m editor seen '*<ready>*'
zpty -w -n editor "$2"$'\t'
zpty -r -m editor seen '*<end>*'
print -r -- "$seen"
`.replaceAll('\\$', '$')

test.skipIf(Bun.which('zsh') === null)(
  'zsh completes commands, options, models, choices and files',
  async () => {
    await using folder = await prepared('zsh', '_petals')
    for (const [line, expected] of OFFERED) {
      const fpath = join(folder.path, 'script')
      const text = await run(['zsh', '-f', '-c', ZSH, 'zsh', fpath, line], folder)
      const words = [...text.matchAll(/<word>(.*?)<\/word>/g)].map(([, word = '']) => word)
      expect({ line, words: words.toSorted() }).toEqual({ line, words: [...expected] })
    }
  },
  2 * MS
)
