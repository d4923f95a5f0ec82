// What a command declares: its name, its words, its options with their help, and what runs it.
// Knows no parser (argv.ts) and no command.
import type { Context } from './context.ts'
import type { Flags } from './options.ts'

/** An option with a value, which reaches the command exactly as it was typed. */
export interface TextOption {
  readonly kind: 'text'
  /** What the value is, as the help shows it. */
  readonly value: string
  readonly help: string
}

/** An option without a value: true when given. */
export interface FlagOption {
  readonly kind: 'flag'
  readonly help: string
}

/** `--no-NAME`: false when given. */
export interface OffOption {
  readonly kind: 'off'
  readonly help: string
}

export type Option = TextOption | FlagOption | OffOption
export type Options = Readonly<Record<string, Option>>

/** The options that flags of type F need, one each, of the right kind. */
export type OptionsFor<F> = {
  readonly [K in keyof F]-?: string extends F[K] ? TextOption : FlagOption | OffOption
}

/** A command as the program sees it. */
export interface Command {
  readonly name: string
  /** The words behind it as the help shows them, e.g. '<MODEL>'; required ones in <>. */
  readonly words: string
  /** How many words there may be. */
  readonly mostWords: number
  readonly about: string
  /** Shown instead of `words` in the command's own help. */
  readonly usage?: string
  readonly options: Options
  readonly examples: readonly string[]
  /** Serves others until it is told to stop: it says why it ends. */
  readonly isServer: boolean
  /** Runs it; resolves to the exit code, 0 when it returns nothing. */
  run(words: readonly string[], flags: Flags, context: Context): Promise<number | void>
}

export interface CommandOptions<F> {
  name: string
  words?: string
  mostWords?: number
  about: string
  usage?: string
  options: OptionsFor<F>
  examples?: readonly string[]
  isServer?: boolean
  run: (words: readonly string[], flags: F, context: Context) => Promise<number | void>
}

/** Declares a command whose flags are F: the compiler holds that each has its option. */
export function command<F extends object>(options: CommandOptions<F>): Command {
  const { words = '', examples = [], isServer = false, usage, run } = options
  return {
    name: options.name,
    words,
    mostWords: options.mostWords ?? words.split(' ').filter((word) => word !== '').length,
    about: options.about,
    options: options.options as Options,
    examples,
    isServer,
    ...(usage === undefined ? {} : { usage }),
    // argv.ts gives text to text options and booleans to the others, and nothing else.
    run: (typed, flags, context) => run(typed, flags as F, context)
  }
}

export function text(value: string, help: string): TextOption {
  return { kind: 'text', value, help }
}

export function flag(help: string): FlagOption {
  return { kind: 'flag', help }
}

/** Typed as --no-NAME. */
export function off(help: string): OffOption {
  return { kind: 'off', help }
}

/** `tokensPerDay` as it is typed: `tokens-per-day`. */
export function typedName(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
