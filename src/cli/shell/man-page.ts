// The manual as `man` shows it, made from the commands' own declarations.
import { type Command, type Option, typedName } from '../command.ts'
import { GLOBAL_OPTIONS } from '../common-options.ts'

export interface ManPageOptions {
  version: string
  /** Names of variables, and what each is for. */
  environment: readonly (readonly [string, string])[]
  /** Codes, and what each means. */
  exits: readonly (readonly [string, string])[]
}

export function manPage(commands: readonly Command[], options: ManPageOptions): string {
  const { version, environment, exits } = options
  return [
    `.TH PETALS 1 "" "petals ${roff(version)}" "User Commands"`,
    '.SH NAME',
    'petals \\- large language models over a swarm of ordinary machines',
    '.SH SYNOPSIS',
    '.B petals',
    '.I command',
    '.RI [ options ]',
    '.SH COMMANDS',
    ...commands.flatMap(commandPart),
    '.SH OPTIONS OF EVERY COMMAND',
    ...optionParts(GLOBAL_OPTIONS),
    '.SH FILES',
    ...entry('config.toml', 'In the data folder: options as they are typed, without dashes.'),
    '.SH ENVIRONMENT',
    ...environment.flatMap(([name, what]) => entry(name, what)),
    '.SH EXIT STATUS',
    ...exits.flatMap(([code, what]) => entry(code, what)),
    ''
  ].join('\n')
}

function commandPart({ name, words, about, usage, options, examples }: Command): string[] {
  const [first = '', ...more] = (usage ?? `${name} ${words}`.trimEnd()).split('\n')
  return [
    `.SS petals ${roff(first)}`,
    roffLine(about),
    ...(more.length > 0 ? ['.PP', '.nf', ...more.map(roffLine), '.fi'] : []),
    ...optionParts(options),
    ...(examples.length > 0 ? ['.PP', '.nf', ...examples.map(roffLine), '.fi'] : [])
  ]
}

function optionParts(options: Readonly<Record<string, Option>>): string[] {
  return Object.entries(options).flatMap(([key, option]) => {
    const name = `--${option.kind === 'off' ? 'no-' : ''}${typedName(key)}`
    const value = 'value' in option ? ` \\fI${roff(option.value)}\\fR` : ''
    return ['.TP', `\\fB${roff(name)}\\fR${value}`, roffLine(option.help)]
  })
}

function entry(name: string, what: string): string[] {
  return ['.TP', `\\fB${roff(name)}\\fR`, roffLine(what)]
}

function roff(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('`', '\\(ga')
}

/** A line that begins with a dot or a quote would be an order. */
function roffLine(text: string): string {
  return /^[.']/.test(text) ? `\\&${roff(text)}` : roff(text)
}
