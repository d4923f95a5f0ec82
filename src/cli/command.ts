// What a command declares: its name, words, options with their help, and its body. Knows no parser
// (argv.ts) and no particular command.
import type { Context } from './context.ts'
import type { Flags } from './options.ts'

/** An option with a value, which the command gets exactly as typed. */
export interface TextOption {
  readonly kind: 'text'
  /** The value's name in the help. */
  readonly value: string
  /** All values that it may have. Default: anything. */
  readonly choices?: readonly string[]
  readonly help: string
}

/** An option without a value: true if given. */
export interface FlagOption {
  readonly kind: 'flag'
  readonly help: string
}

/** `--no-NAME`: false if given. */
export interface OffOption {
  readonly kind: 'off'
  readonly help: string
}

/** An option with a value that may be given several times: all of them, in order. */
export interface ListOption {
  readonly kind: 'list'
  readonly value: string
  readonly help: string
}

export type Option = TextOption | FlagOption | OffOption | ListOption
export type Options = Readonly<Record<string, Option>>

/** The options that flags of type F need, each of the right kind. */
export type OptionsFor<F> = {
  readonly [K in keyof F]-?: string extends F[K]
    ? TextOption
    : readonly string[] extends F[K]
      ? ListOption
      : FlagOption | OffOption
}

/** A command as the program sees it. */
export interface Command {
  readonly name: string
  /** The words after it, as shown in the help, e.g. '<MODEL>'; required ones in <>. */
  readonly words: string
  /** All that the first word may be; empty: anything. */
  readonly choices: readonly string[]
  /** Most words that are allowed. */
  readonly mostWords: number
  readonly about: string
  /** Shown instead of `words` in the command's own help. */
  readonly usage?: string
  readonly options: Options
  readonly examples: readonly string[]
  /** Runs until it is told to stop, and says why it ends. */
  readonly isServer: boolean
  /** Takes options from config.toml that were not typed. */
  readonly isConfigured: boolean
  /** Runs it. Resolves to the exit code; nothing means 0. */
  run(words: readonly string[], flags: Flags, context: Context): Promise<number | void>
}

export interface CommandOptions<F> {
  name: string
  words?: string
  choices?: readonly string[]
  mostWords?: number
  about: string
  usage?: string
  options: OptionsFor<F>
  examples?: readonly string[]
  isServer?: boolean
  /** Default true. */
  isConfigured?: boolean
  run: (words: readonly string[], flags: F, context: Context) => Promise<number | void>
}

/** Declares a command with flags of type F: the compiler checks that each has its option. */
export function command<F extends object>(options: CommandOptions<F>): Command {
  const { words = '', choices = [], examples = [], isServer = false, usage, run } = options
  return {
    name: options.name,
    words,
    choices,
    mostWords: options.mostWords ?? words.split(' ').filter((word) => word !== '').length,
    about: options.about,
    options: options.options as Options,
    examples,
    isServer,
    isConfigured: options.isConfigured ?? true,
    ...(usage === undefined ? {} : { usage }),
    // argv.ts gives text for text options and booleans for the others, nothing else.
    run: (typed, flags, context) => run(typed, flags as F, context)
  }
}

export function text(value: string, help: string, choices?: readonly string[]): TextOption {
  return { kind: 'text', value, help, ...(choices ? { choices } : {}) }
}

export function flag(help: string): FlagOption {
  return { kind: 'flag', help }
}

/** May be given several times. */
export function list(value: string, help: string): ListOption {
  return { kind: 'list', value, help }
}

/** Typed as --no-NAME. */
export function off(help: string): OffOption {
  return { kind: 'off', help }
}

/** The typed form of a key: `tokensPerDay` is `tokens-per-day`. */
export function typedName(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
