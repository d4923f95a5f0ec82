// Turns what was typed into values, or says what should have been typed.
import { isIPv4, isIPv6 } from 'node:net'
import type { BlockSpan } from '../base/block-span.ts'
import { badInput, unavailable } from '../base/errors.ts'

export type FlagValue = string | boolean | undefined
/** Options as typed, by name. */
export type Flags = Readonly<Record<string, FlagValue>>

export interface Address {
  readonly host: string
  readonly port: number
}

/** Words separated by commas; none if not given. @throws AppError BAD_INPUT for an empty one */
export function parseList(name: string, value: string | undefined): string[] {
  if (value === undefined) return []
  const words = value.split(',').map((word) => word.trim())
  if (words.includes('')) {
    throw badInput(`--${name} cannot be '${value}'`, { hint: 'Give words with commas between' })
  }
  return words
}

interface NamedAddress {
  readonly name: string
  readonly port: number
}

/** `H:P[,H:P]`, where H may be a host name. @throws AppError BAD_INPUT */
export function parseAddresses(value: string | undefined): NamedAddress[] {
  return parseList('bootstrap', value).map((text) => {
    const at = text.lastIndexOf(':')
    const name = text.slice(0, at)
    const port = Number(text.slice(at + 1))
    if (isIPv6(name.replace(/^\[(.*)\]$/, '$1')) || isIPv6(text)) {
      throw badInput(`The bootstrap address '${text}' cannot be used: it is IPv6`, {
        hint: 'The DHT speaks IPv4: give the IPv4 address of that machine, or its name'
      })
    }
    const isName = isIPv4(name) || (HOST_NAME.test(name) && !/^[\d.]+$/.test(name))
    if (!isName || !/^\d{1,5}$/.test(text.slice(at + 1)) || port < 1 || port > 65_535) {
      throw badInput(`The bootstrap address '${text}' cannot be used`, {
        hint: 'Give an address and a port as `petals bootstrap` prints them: 127.0.0.1:49737'
      })
    }
    return { name, port }
  })
}

const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

/** The IPv4 address of a host name; undefined if it has none. */
export type LookUp = (name: string) => Promise<string | undefined>

/**
 * `H:P[,H:P]` as addresses.
 * @throws AppError BAD_INPUT, or UNAVAILABLE for a name without an address
 */
export async function resolveAddresses(
  value: string | undefined,
  lookUp: LookUp = systemLookUp
): Promise<Address[]> {
  return Promise.all(
    parseAddresses(value).map(async ({ name, port }) => {
      if (isIPv4(name)) return { host: name, port }
      if (name === 'localhost') return { host: '127.0.0.1', port }
      const host = await lookUp(name)
      if (host !== undefined) return { host, port }
      throw unavailable(
        `The bootstrap node '${name}' cannot be found: the name has no IPv4 address`,
        {
          hint: 'See whether the name is right and this machine is online'
        }
      )
    })
  )
}

async function systemLookUp(name: string): Promise<string | undefined> {
  const { lookup } = await import('node:dns/promises')
  return lookup(name, { family: 4 }).then(
    ({ address }) => address,
    () => undefined
  )
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
