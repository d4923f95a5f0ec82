// Turns what was typed into values, or says what should have been typed.
import type { BlockSpan } from '../base/block-span.ts'
import { badInput } from '../base/errors.ts'
import type { KvType } from '../blocks/types.ts'

export type FlagValue = string | boolean | readonly string[] | undefined
/** Options as typed, by name. */
export type Flags = Readonly<Record<string, FlagValue>>

/** Words separated by commas; none if not given. @throws AppError BAD_INPUT for an empty one */
export function parseList(name: string, value: string | undefined): string[] {
  if (value === undefined) return []
  const words = value.split(',').map((word) => word.trim())
  if (words.includes('')) {
    throw badInput(`--${name} cannot be '${value}'`, { hint: 'Give words with commas between' })
  }
  return words
}

/** `A:B` as blocks [A, B). @throws AppError BAD_INPUT */
export function parseBlocks(value: string | undefined): BlockSpan | undefined {
  if (value === undefined) return undefined
  const match = /^(\d{1,6}):(\d{1,6})$/.exec(value)
  const start = Number(match?.[1])
  const end = Number(match?.[2])
  if (!match || start >= end) {
    throw badInput(`The block range '${value}' cannot be used`, {
      hint: 'Give the first block and the one after the last: --blocks 0:10 serves blocks 0 to 9'
    })
  }
  return { start, end }
}

export const KV_TYPES: readonly KvType[] = ['f16', 'f32', 'int8']

/**
 * How keys and values are to be held; undefined if not given.
 * @throws AppError BAD_INPUT, also on devices, whose keys and values are f32
 */
export function parseKv(flags: {
  kv?: string | undefined
  device?: string | undefined
}): KvType | undefined {
  const { kv, device } = flags
  const choice = parseChoice('kv', kv, KV_TYPES)
  if (choice === undefined || device === undefined || device === 'cpu') return choice
  throw badInput(`--kv cannot be used with --device ${device}`, {
    hint: 'Leave --kv out: on a GPU keys and values are f32'
  })
}

/** The number in a text; NaN if there is none. */
function numberOf(value: string): number {
  return Number(value.trim() || Number.NaN)
}

/** A whole number within bounds; undefined if not given. @throws AppError BAD_INPUT */
export function parseWhole(
  name: string,
  value: string | undefined,
  low: number,
  high: number
): number | undefined {
  if (value === undefined) return undefined
  const number = numberOf(value)
  if (!Number.isSafeInteger(number) || number < low || number > high) {
    throw badInput(`--${name} cannot be '${value}'`, {
      hint: `Give a whole number from ${low} to ${high}`
    })
  }
  return number
}

/**
 * A number; undefined if not given. `range` describes its bounds, which are checked where it is
 * used.
 */
export function parseNumber(
  name: string,
  value: string | undefined,
  range = 'a number'
): number | undefined {
  if (value === undefined) return undefined
  const number = numberOf(value)
  if (!Number.isFinite(number)) {
    throw badInput(`--${name} cannot be '${value}'`, { hint: `Give ${range}` })
  }
  return number
}

/** One of several words; undefined if not given. @throws AppError BAD_INPUT */
export function parseChoice<T extends string>(
  name: string,
  value: string | undefined,
  choices: readonly T[]
): T | undefined {
  if (value === undefined) return undefined
  const found = choices.find((one) => one === value)
  if (!found) {
    throw badInput(`--${name} cannot be '${value}'`, {
      hint: `Give one of ${choices.join(', ')}`
    })
  }
  return found
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** Bytes with a unit, e.g. 8g, 512m. @throws AppError BAD_INPUT */
export function parseBytes(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(value.trim())
  const unit = UNITS[match?.[2]?.toLowerCase() ?? '']
  if (!match || unit === undefined) {
    throw badInput(`--${name} cannot be '${value}'`, {
      hint: 'Give a size such as 8g or 512m'
    })
  }
  return Math.floor(Number(match[1]) * unit)
}

const SPANS_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000
}
/** A hundred years. */
const MOST_EXPIRY_MS = 36_525 * 86_400_000

/**
 * `30d` or `12h` from now, or a date such as 2031-01-31, as wall clock ms.
 * @throws AppError BAD_INPUT
 */
export function parseExpiry(
  name: string,
  value: string | undefined,
  now: number
): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  const match = /^(\d{1,7})([smhdw])$/.exec(text)
  const isDate = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?Z?)?$/.test(text)
  const at = match
    ? now + Number(match[1]) * (SPANS_MS[match[2] ?? ''] ?? Number.NaN)
    : isDate
      ? Date.parse(text)
      : Number.NaN
  if (at > now && at < now + MOST_EXPIRY_MS) return Math.floor(at / 1000) * 1000
  throw badInput(`--${name} cannot be '${text}'`, {
    hint: 'Give a time from now such as 12h, 30d or 8w, or a date to come such as 2031-01-31'
  })
}
