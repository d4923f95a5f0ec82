// The text of --help: commands, options, the environment, and exit codes.
import { SHORT } from './argv.ts'
import { type Command, type Option, type Options, typedName } from './command.ts'
import { GLOBAL_OPTIONS } from './common-options.ts'
import { EXIT_HELP } from './exit.ts'

const PITCH = 'petals: large language models over a swarm of ordinary machines'

const MORE = `petals COMMAND --help tells the rest of each; petals --version what it is made of.`

const MODEL =
  'MODEL is an alias (smollm2-135m, llama3-8b ...), owner/name[@revision] of a hub, a GGUF file, ' +
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

const FILES =
  'config.toml of the data folder (petals doctor names it) has options as they are typed, without ' +
  'dashes, for all commands, or for one below its [name]: temperature = 0.2'

/** Longer lines are hard to read. */
const MOST_COLUMNS = 100
/** A narrower column of texts would be no help. */
const LEAST_COLUMNS = 24

/**
 * What `petals --help` prints, or `petals COMMAND --help`.
 * @param columns of the terminal. Default: no line is broken
 */
export function helpText(
  command: Command | undefined,
  commands: readonly Command[],
  columns: number = Infinity
): string {
  const most = columns === Infinity ? columns : Math.min(columns, MOST_COLUMNS)
  const sections = command ? commandSections(command, most) : programSections(commands, most)
  return `${[...sections, EXIT_HELP].join('\n\n')}\n`
}

function programSections(commands: readonly Command[], columns: number): string[] {
  const rows = commands.map(
    ({ name, words, about }) =>
      [`${name} ${words.replaceAll(/[<>]/g, '')}`.trimEnd(), about] as const
  )
  return [
    PITCH,
    'Usage:\n  $ petals <command> [options]',
    `Commands:\n${table(rows, columns)}`,
    `Options:\n${optionLines(GLOBAL_OPTIONS, columns)}`,
    wrapped(MODEL, columns),
    wrapped(MORE, columns),
    `Environment:\n${table(ENVIRONMENT, columns)}`,
    `Files:\n  ${wrapped(FILES, columns, 2)}`
  ]
}

function commandSections(
  { name, words, about, usage, options, examples }: Command,
  columns: number
): string[] {
  const how = usage ?? `${name} ${words}`.trimEnd()
  const text = `${how} ${examples.join(' ')}`
  return [
    wrapped(about, columns),
    `Usage:\n  $ petals ${how}`,
    `Options:\n${optionLines({ ...options, ...GLOBAL_OPTIONS }, columns)}`,
    ...(examples.length > 0
      ? [`Examples:\n${examples.map((line) => `  ${line}`).join('\n')}`]
      : []),
    ...(text.includes('MODEL') ? [wrapped(MODEL, columns)] : [])
  ]
}

function optionLines(options: Options, columns: number): string {
  return table(
    Object.entries(options).map(([key, option]) => [typedOption(key, option), option.help]),
    columns
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

function table(rows: readonly (readonly [string, string])[], columns: number): string {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows
    .map(([name, text]) => `  ${name.padEnd(width)}  ${wrapped(text, columns, width + 4)}`)
    .join('\n')
}

/** The text in lines of whole words, all but the first behind an indent. */
function wrapped(text: string, columns: number, indent = 0): string {
  const most = Math.max(LEAST_COLUMNS, columns - indent)
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= most) {
      lines[lines.length - 1] = `${last} ${word}`
    } else lines.push(word)
  }
  return lines.join(`\n${' '.repeat(indent)}`)
}
