// Splits what was typed into words and flags: values exactly as typed, the last one of a repeated
// option. cac parses, but it turns values that look like numbers into numbers, takes a value that
// begins with a dash for an option, and drops a lone dash. A mark before each value and word
// prevents that.
import { cac } from 'cac'
import { badInput } from '../base/errors.ts'
import { lookUp } from '../base/look-up.ts'
import { type Command, type Option, type Options, typedName } from './command.ts'
import type { Flags, FlagValue } from './options.ts'
import { GLOBAL_OPTIONS } from './common-options.ts'
import { nearest } from './nearest.ts'

/** Put before a value or word that cac must not interpret. */
const MARK = '='
/** Stands for an option without a value. */
const GIVEN = 'true'
/** Letters that stand for options. */
export const SHORT: Readonly<Record<string, string>> = {
  '-h': '--help',
  '-v': '--version',
  '-x': '--extract'
}

export interface Typed {
  /** Undefined if none was typed. */
  readonly command: Command | undefined
  readonly words: readonly string[]
  readonly flags: Flags
}

/** What users of other programs type. */
const SYNONYMS: Readonly<Record<string, string>> = {
  ask: 'chat',
  check: 'doctor',
  delete: 'rm',
  download: 'pull',
  fetch: 'pull',
  generate: 'chat',
  host: 'join',
  info: 'status',
  list: 'models',
  prompt: 'chat',
  ps: 'status',
  remove: 'rm',
  run: 'chat',
  serve: 'join',
  server: 'join',
  start: 'join'
}

/**
 * Reads the words after the program's name.
 * @throws AppError BAD_INPUT for an unknown command or option, a missing value or too many words
 */
export function readArguments(typed: readonly string[], commands: readonly Command[]): Typed {
  const kinds = kindsOf(commands)
  const at = commandAt(typed, kinds)
  const name = typed[at]
  const rest = at < 0 ? typed : typed.toSpliced(at, 1)
  if (name === 'help') return readHelp(rest, commands)
  if (name === 'version') return { command: undefined, words: [], flags: { version: true } }
  const command = commands.find((one) => one.name === name)
  const own = command ? { ...command.options, ...GLOBAL_OPTIONS } : GLOBAL_OPTIONS
  const parser = cac('petals')
  const { args, options } = parser.parse(['', '', ...mark(rest, command ? byName(own) : kinds)], {
    run: false
  })
  const given = unmark(options)
  const isGiven = (name: string): boolean => given[name]?.at(-1) === true
  const words = args.map((word) => word.slice(MARK.length))
  if (isGiven('help') || isGiven('version')) {
    const asked = ['help', 'version'].filter(isGiven).map((word) => [word, true] as const)
    return { command, words, flags: Object.fromEntries(asked) }
  }
  if (name !== undefined && !command) throw noCommand(name, commands)
  const where = command ? `petals ${command.name}` : 'petals'
  const flags = Object.entries(given).map(
    ([key, value]) => [key, readFlag(key, value, own, where)] as const
  )
  if (command) checkWords(command, words)
  return { command, words, flags: Object.fromEntries(flags) }
}

function readHelp(rest: readonly string[], commands: readonly Command[]): Typed {
  const name = rest.find((word) => !word.startsWith('-'))
  const command = commands.find((one) => one.name === name)
  if (name !== undefined && !command) throw noCommand(name, commands)
  return { command, words: [], flags: { help: true } }
}

type Kind = Option['kind']
/** An option's value, or whether it stands there. */
type Given = string | boolean

/** What each typed `--name` is. */
function byName(options: Options): Map<string, Kind> {
  return new Map(
    Object.entries(options).map(([key, { kind }]) => [
      kind === 'off' ? `--no-${typedName(key)}` : `--${typedName(key)}`,
      kind
    ])
  )
}

/** Of all commands, because an option may come before its command. */
function kindsOf(commands: readonly Command[]): Map<string, Kind> {
  const all = [GLOBAL_OPTIONS, ...commands.map(({ options }) => options)]
  return new Map(all.flatMap((options) => [...byName(options)]))
}

/** Index of the command; -1 if there is none. */
function commandAt(typed: readonly string[], kinds: ReadonlyMap<string, Kind>): number {
  for (let at = 0; at < typed.length; at++) {
    const word = typed[at] ?? ''
    if (word === '--') return -1
    if (!word.startsWith('-')) return at
    if (takesNext(word, typed[at + 1], kinds)) at++
  }
  return -1
}

/** Whether the next word is the value of this option. */
function takesNext(
  word: string,
  next: string | undefined,
  kinds: ReadonlyMap<string, Kind>
): next is string {
  const kind = kinds.get(word)
  if ((kind !== 'text' && kind !== 'list') || next === undefined || next === '--') return false
  // '-' is stdin, '-1' a number, '- be short' a text; what looks like an option is one.
  return !/^(--?[a-z]\S*)$/i.test(next)
}

/** What cac leaves out without a word, or takes for an object. */
const DROPPED = /^--(no-)?(constructor|__proto__|prototype)$|^--[^.]*\./

/** The input for cac: options first, every value and word marked, so that nothing is misread. */
function mark(typed: readonly string[], kinds: ReadonlyMap<string, Kind>): string[] {
  const options: string[] = []
  const words: string[] = []
  for (let at = 0; at < typed.length; at++) {
    const word = lookUp(SHORT, typed[at] ?? '') ?? typed[at] ?? ''
    const next = typed[at + 1]
    const equals = word.indexOf('=')
    const name = equals < 0 ? word : word.slice(0, equals)
    if (word === '--') {
      words.push(...typed.slice(at + 1))
      break
    }
    if (DROPPED.test(name)) throw badInput(`There is no option ${name}`)
    if (word === '-' || !word.startsWith('-')) words.push(word)
    else if (takesNext(word, next, kinds)) {
      options.push(`${name}=${MARK}${next}`)
      at++
    } else if (equals > 0) options.push(`${name}=${MARK}${word.slice(equals + 1)}`)
    // A text option without its value, or an unknown option: checkFlag refuses it.
    else options.push(/^--no-./.test(word) ? word : `${name}=${GIVEN}`)
  }
  return [...options, ...words.map((word) => `${MARK}${word}`)]
}

/** Everything that was given of each option, in order. */
function unmark(parsed: Readonly<Record<string, unknown>>): Record<string, Given[]> {
  const flags: Record<string, Given[]> = {}
  for (const [key, value] of Object.entries(parsed)) {
    // Words after '--', of which mark() leaves none.
    if (key === '--') continue
    const all: unknown[] = Array.isArray(value) ? value : [value]
    flags[key] = all.map((one) =>
      typeof one === 'string' && one.startsWith(MARK) ? one.slice(MARK.length) : one !== false
    )
  }
  return flags
}

/**
 * Converts a flag to its kind.
 * @throws AppError BAD_INPUT for an option that the command does not have, or a wrong value
 */
function readFlag(key: string, all: readonly Given[], options: Options, where: string): FlagValue {
  const given = all.at(-1) ?? false
  const option = Object.hasOwn(options, key) ? options[key] : undefined
  const name = given === false ? `no-${typedName(key)}` : typedName(key)
  if (option?.kind === 'text' && typeof given === 'string') return given
  if (option?.kind === 'list' && all.every((one) => typeof one === 'string')) return all
  if ((option?.kind === 'text' || option?.kind === 'list') && given) {
    throw badInput(`--${name} has no value`, {
      hint: `--${name} <${option.value}>: ${option.help}. One that begins with a dash: --${name}=-...`
    })
  }
  if (option?.kind === 'off' && given === false) return false
  if (option?.kind === 'flag') {
    if (typeof given === 'boolean') return given
    if (given === 'true' || given === 'false') return given === 'true'
    throw badInput(`--${name} takes no value: '${given}'`)
  }
  const dashes = key.length === 1 ? '-' : '--'
  const known = Object.entries(options).map(([one, { kind }]) =>
    kind === 'off' ? `no-${typedName(one)}` : typedName(one)
  )
  const near = nearest(name, known)
  const isNumber = /^\d/.test(key)
  throw badInput(`There is no option ${dashes}${name}`, {
    hint: isNumber
      ? `A word that begins with a dash stands behind --: ${where} -- -${key}`
      : `${near === undefined ? '' : `Did you mean --${near}? `}${where} --help lists them`
  })
}

function noCommand(name: string, commands: readonly Command[]): Error {
  const names = commands.map((one) => one.name)
  const near = lookUp(SYNONYMS, name.toLowerCase()) ?? nearest(name, names)
  const meant = near === undefined ? '' : `Did you mean petals ${near}? `
  return badInput(`There is no command '${name}'`, { hint: `${meant}petals --help lists them` })
}

/** @throws AppError BAD_INPUT */
function checkWords({ name, words, mostWords }: Command, typed: readonly string[]): void {
  const needed = [...words.matchAll(/<([^>]+)>/g)].map(([, word]) => word ?? '')
  const missing = needed[typed.length]
  if (missing !== undefined) {
    throw badInput(`petals ${name} needs a ${missing}`, {
      hint: `petals ${[name, ...needed].join(' ')}`
    })
  }
  if (typed.length > mostWords) {
    throw badInput(`There are too many words: '${typed[mostWords] ?? ''}'`, {
      hint: `petals ${[name, ...needed].join(' ')} takes no more; petals ${name} --help tells the rest`
    })
  }
}
