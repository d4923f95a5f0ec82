// Options of the library by name: transformers writes them with underscores, JavaScript in camel
// case; both are taken. A name that nobody knows is refused, so that no wish is passed over.
import { badInput } from '../base/errors.ts'

type Camel<S extends string> = S extends `${infer A}_${infer B}` ? `${A}${Capitalize<Camel<B>>}` : S

/** Options under their names, and in camel case. */
export type EitherCase<T> = T & { [K in keyof T as Camel<K & string>]?: T[K] }

/**
 * The options under their names with underscores.
 * @param what whose options they are, for the message
 * @throws AppError BAD_INPUT for an unknown name, or one that is given in both spellings
 */
export function namedOptions<K extends string>(
  given: Readonly<Record<string, unknown>>,
  known: readonly K[],
  what: string
): Partial<Record<K, unknown>> {
  const options: Partial<Record<K, unknown>> = {}
  for (const [typed, value] of Object.entries(given)) {
    if (value === undefined) continue
    const name = typed.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    const key = known.find((one) => one === name)
    if (key === undefined) {
      throw badInput(`${what} has no option '${typed}'`, {
        hint: `There are ${known.join(', ')}`
      })
    }
    if (key in options) throw badInput(`${what} was given '${key}' twice`)
    options[key] = value
  }
  return options
}

/** @throws AppError BAD_INPUT */
export function numberOption(
  name: string,
  value: unknown,
  low: number,
  high: number
): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && value >= low && value <= high) return value
  throw badInput(`'${name}' cannot be ${shown(value)}`, {
    hint: `Give a number from ${low} to ${high}`
  })
}

/** @throws AppError BAD_INPUT */
export function wholeOption(
  name: string,
  value: unknown,
  low: number,
  high: number
): number | undefined {
  const number = numberOption(name, value, low, high)
  if (number === undefined || Number.isInteger(number)) return number
  throw badInput(`'${name}' cannot be ${shown(value)}`, {
    hint: `Give a whole number from ${low} to ${high}`
  })
}

/** @throws AppError BAD_INPUT */
export function textOption(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null || typeof value === 'string') return value ?? undefined
  throw badInput(`'${name}' cannot be ${shown(value)}`, { hint: 'Give a text' })
}

/** @throws AppError BAD_INPUT */
export function booleanOption(name: string, value: unknown): boolean | undefined {
  if (value === undefined || value === null || typeof value === 'boolean') return value ?? undefined
  throw badInput(`'${name}' cannot be ${shown(value)}`, { hint: 'Give true or false' })
}

/** One of a few words. @throws AppError BAD_INPUT */
export function choiceOption<T extends string>(
  name: string,
  value: unknown,
  choices: readonly T[]
): T | undefined {
  if (value === undefined || value === null) return undefined
  const found = choices.find((one) => one === value)
  if (found !== undefined) return found
  throw badInput(`'${name}' cannot be ${shown(value)}`, {
    hint: `Give one of ${choices.join(', ')}`
  })
}

/** One text or several. @throws AppError BAD_INPUT */
export function textsOption(name: string, value: unknown): readonly string[] {
  if (value === undefined || value === null) return []
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.every((one) => typeof one === 'string')) return list
  throw badInput(`'${name}' cannot be ${shown(value)}`, { hint: 'Give a text or a list of texts' })
}

/** @throws AppError BAD_INPUT for what is no list */
export function listOption(name: string, value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) return value as unknown[]
  throw badInput(`'${name}' cannot be ${shown(value)}`, { hint: 'Give a list' })
}

/** What a program lends: it is known by its methods. @throws AppError BAD_INPUT */
export function partOption<T extends object>(
  name: string,
  value: unknown,
  methods: readonly (keyof T & string)[]
): T | undefined {
  if (value === undefined || value === null) return undefined
  const part = value as Readonly<Record<string, unknown>>
  if (methods.every((method) => typeof part[method] === 'function')) return value as T
  throw badInput(`'${name}' cannot be ${shown(value)}`, {
    hint: `Give what has ${methods.join(' and ')}`
  })
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  return JSON.stringify(value)?.slice(0, 60) ?? String(value)
}
