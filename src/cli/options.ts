// Turns what was typed into values, or says what should have been typed.
import type { BlockSpan } from '../base/block-span.ts'
import { isIPv4 } from 'node:net'
import { badInput } from '../base/errors.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/** A list that cac gives as one value, several, or none. */
export function listOf(value: unknown): string[] {
  if (value === undefined || value === null || value === false) return []
  const all = Array.isArray(value) ? value : [value]
  return all.flatMap((one) => String(one).split(',')).filter((one) => one !== '')
}

/** `H:P[,H:P]` as addresses. @throws AppError BAD_INPUT */
export function parseAddresses(value: unknown): Address[] {
  return listOf(value).map((text) => {
    const at = text.lastIndexOf(':')
    const host = text.slice(0, at)
    const port = Number(text.slice(at + 1))
    const known = host === 'localhost' ? '127.0.0.1' : host
    if (at < 1 || !isIPv4(known) || !Number.isInteger(port) || port < 1 || port > 65_535) {
      throw badInput(`The bootstrap address '${text}' cannot be used`, {
        hint: 'Give an IPv4 address and a port as `petals bootstrap` prints them: 127.0.0.1:49737'
      })
    }
    return { host: known, port }
  })
}

/** `A:B` as a range of blocks [A, B). @throws AppError BAD_INPUT */
export function parseBlocks(value: unknown): BlockSpan | undefined {
  if (value === undefined) return undefined
  const match = /^(\d{1,6}):(\d{1,6})$/.exec(String(value))
  const start = Number(match?.[1])
  const end = Number(match?.[2])
  if (!match || start >= end) {
    throw badInput(`The block range '${String(value)}' cannot be used`, {
      hint: 'Give the first block and the one after the last: --blocks 0:10 serves blocks 0 to 9'
    })
  }
  return { start, end }
}

/** A whole number within bounds, or undefined when not given. @throws AppError BAD_INPUT */
export function parseWhole(
  name: string,
  value: unknown,
  low: number,
  high: number
): number | undefined {
  if (value === undefined) return undefined
  const number = typeof value === 'number' ? value : Number(String(value).trim() || Number.NaN)
  if (!Number.isSafeInteger(number) || number < low || number > high) {
    throw badInput(`--${name} cannot be '${String(value)}'`, {
      hint: `Give a whole number from ${low} to ${high}`
    })
  }
  return number
}

/** A number, or undefined when not given; its bounds, told as `range`, are checked where it is used. */
export function parseNumber(name: string, value: unknown, range = 'a number'): number | undefined {
  if (value === undefined) return undefined
  const number = typeof value === 'number' ? value : Number(String(value).trim() || Number.NaN)
  if (!Number.isFinite(number)) {
    throw badInput(`--${name} cannot be '${String(value)}'`, { hint: `Give ${range}` })
  }
  return number
}

/** One of a few words, or undefined when not given. @throws AppError BAD_INPUT */
export function parseChoice<T extends string>(
  name: string,
  value: unknown,
  choices: readonly T[]
): T | undefined {
  if (value === undefined) return undefined
  const found = choices.find((one) => one === String(value))
  if (!found) {
    throw badInput(`--${name} cannot be '${String(value)}'`, {
      hint: `Give one of ${choices.join(', ')}`
    })
  }
  return found
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** Bytes with a unit, e.g. 8g, 512m. @throws AppError BAD_INPUT */
export function parseBytes(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(String(value).trim())
  const unit = UNITS[match?.[2]?.toLowerCase() ?? '']
  if (!match || unit === undefined) {
    throw badInput(`--${name} cannot be '${String(value)}'`, {
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
/** A hundred years: later is never. */
const MOST_EXPIRY_MS = 36_525 * 86_400_000

/** `30d`, `12h` from now, or a date such as 2031-01-31, as wall clock ms. @throws AppError BAD_INPUT */
export function parseExpiry(name: string, value: unknown, now: number): number | undefined {
  if (value === undefined) return undefined
  const text = String(value).trim()
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
