// The text of --help: commands, options, the environment, and exit codes.
import { SHORT } from './argv.ts'
import { type Command, type Option, type Options, typedName } from './command.ts'
import { GLOBAL_OPTIONS } from './common-options.ts'
import { EXIT_HELP } from './exit.ts'

const PITCH = 'petals: large language models over a swarm of ordinary machines'

const MORE = `petals COMMAND --help tells the rest of each; petals --version what it is made of.`

const MODEL =
  'MODEL is an alias (smollm2-135m, llama3-8b ...), owner/name[@revision] of a hub, a GGUF file,\n' +
  "a llama2.c checkpoint, or a folder in the hub's layout."

/** Variables, and what each is for. */
export const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['PETALS_BOOTSTRAP', 'stands for --bootstrap'],
  ['PETALS_MODEL', 'the model of petals chat when none is named; else the one used last'],
  ['PETALS_SWARM', 'stands for --swarm'],
  ['PETALS_HOME', 'a folder for everything that is kept on disk'],
  ['NO_COLOR', 'no colours; TERM=dumb: no escape sequences at all'],
  ['HF_ENDPOINT, HF_TOKEN, HF_HOME', "as the hub's own tools read them"]
]

const FILES = `Files:
  config.toml of the data folder (petals doctor names it) has options as they are typed, without dashes,
  for all commands, or for one below its [name]: temperature = 0.2`

/** What `petals --help` prints, or `petals COMMAND --help`. */
export function helpText(command: Command | undefined, commands: readonly Command[]): string {
  const sections = command ? commandSections(command) : programSections(commands)
  return `${[...sections, EXIT_HELP].join('\n\n')}\n`
}

function programSections(commands: readonly Command[]): string[] {
  const rows = commands.map(
    ({ name, words, about }) =>
      [`${name} ${words.replaceAll(/[<>]/g, '')}`.trimEnd(), about] as const
  )
  return [
    PITCH,
    'Usage:\n  $ petals <command> [options]',
    `Commands:\n${table(rows)}`,
    `Options:\n${optionLines(GLOBAL_OPTIONS)}`,
    MODEL,
    MORE,
    `Environment:\n${table(ENVIRONMENT)}`,
    FILES
  ]
}

function commandSections({ name, words, about, usage, options, examples }: Command): string[] {
  const how = usage ?? `${name} ${words}`.trimEnd()
  const text = `${how} ${examples.join(' ')}`
  return [
    about,
    `Usage:\n  $ petals ${how}`,
    `Options:\n${optionLines({ ...options, ...GLOBAL_OPTIONS })}`,
    ...(examples.length > 0
      ? [`Examples:\n${examples.map((line) => `  ${line}`).join('\n')}`]
      : []),
    ...(text.includes('MODEL') ? [MODEL] : [])
  ]
}

function optionLines(options: Options): string {
  return table(
    Object.entries(options).map(([key, option]) => [typedOption(key, option), option.help])
  )
}

function typedOption(key: string, option: Option): string {
  const name = typedName(key)
  switch (option.kind) {
    case 'text':
    case 'list':
      return `--${name} <${option.value}>`
    case 'flag':
      return shortOf(`--${name}`)
    case 'off':
      return `--no-${name}`
    default:
      throw new TypeError(`No option is of this kind: '${String(option)}'`)
  }
}

/** With the letter that stands for it, where there is one. */
function shortOf(typed: string): string {
  const [letter] = Object.entries(SHORT).find(([, long]) => long === typed) ?? []
  return letter === undefined ? typed : `${letter}, ${typed}`
}

function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`).join('\n')
}
