// Parts of JSON texts: strings, numbers within bounds, values of any kind, and the spaces between.
import { badInput } from '../../base/errors.ts'
import { characters, intersect, type CodeRange } from './code-points.ts'
import type { Fragment, GrammarBuilder } from './grammar.ts'

/** Characters that a JSON string may hold as they are. */
const PLAIN: readonly CodeRange[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x10ffff]
]
const SHORT_ESCAPES: Readonly<Record<number, string>> = {
  0x08: '\\b',
  0x09: '\\t',
  0x0a: '\\n',
  0x0c: '\\f',
  0x0d: '\\r',
  0x22: '\\"',
  0x2f: '\\/',
  0x5c: '\\\\'
}
/** A new line may be indented by so much. */
const MOST_INDENT = 24
/** Digits of a number without bounds: what JavaScript reads exactly. */
const MOST_DIGITS = 15

/** Builds the parts, each rule once. */
export class JsonParts {
  readonly #builder: GrammarBuilder
  readonly #rules = new Map<string, number>()

  constructor(builder: GrammarBuilder) {
    this.#builder = builder
  }

  /** Nothing, a space, or a new line with its indent: no model can go on with spaces for ever. */
  space(): Fragment {
    const b = this.#builder
    return this.#rule('space', () => {
      const indent = b.repeat(() => b.text(' '), 0, MOST_INDENT)
      return b.choice([b.empty(), b.text(' '), b.sequence(b.text('\n'), indent)])
    })
  }

  /** One character of the ranges, inside a string. */
  character(ranges: readonly CodeRange[]): Fragment {
    const b = this.#builder
    const plain = intersect(ranges, PLAIN)
    const escaped = ranges.flatMap(([first, last]) =>
      Object.entries(SHORT_ESCAPES)
        .filter(([point]) => Number(point) >= first && Number(point) <= last)
        .map(([, text]) => text)
    )
    const parts = [
      ...(plain.length > 0 ? [characters(b, plain)] : []),
      ...escaped.map((text) => b.text(text)),
      ...otherControls(ranges).map((text) => b.text(text))
    ]
    return b.choice(parts)
  }

  /** Any character inside a string, by one rule. */
  anyCharacter(): Fragment {
    return this.#rule('character', () => this.character([[0, 0x10ffff]]))
  }

  /** A string of so many characters. */
  string(low: number = 0, high: number = Infinity): Fragment {
    const b = this.#builder
    const make = (): Fragment => {
      const inner = b.repeat(() => this.anyCharacter(), low, high)
      return b.sequence(b.text('"'), inner, b.text('"'))
    }
    return low === 0 && high === Infinity ? this.#rule('string', make) : make()
  }

  integer(): Fragment {
    const b = this.#builder
    return this.#rule('integer', () =>
      b.sequence(b.optional(b.text('-')), this.#digits(MOST_DIGITS))
    )
  }

  number(): Fragment {
    const b = this.#builder
    return this.#rule('number', () => {
      const fraction = b.sequence(
        b.text('.'),
        b.repeat(() => b.range(0x30, 0x39), 1, MOST_DIGITS)
      )
      const sign = b.optional(b.choice([b.text('+'), b.text('-')]))
      const power = b.repeat(() => b.range(0x30, 0x39), 1, 2)
      const exponent = b.sequence(b.choice([b.text('e'), b.text('E')]), sign, power)
      return b.sequence(this.integer(), b.optional(fraction), b.optional(exponent))
    })
  }

  /** Whole numbers from low to high, as they are written. @throws AppError BAD_INPUT for none */
  integerBetween(low: number, high: number): Fragment {
    return this.#decimalsBetween(
      low === -Infinity ? undefined : BigInt(Math.ceil(low)),
      high === Infinity ? undefined : BigInt(Math.floor(high)),
      0
    )
  }

  /**
   * Numbers from low to high: whole ones, and those with up to so many digits behind the point that
   * the bounds can be met.
   * @throws AppError BAD_INPUT for none
   */
  numberBetween(low: number, high: number, open: { low: boolean; high: boolean }): Fragment {
    // One more, for what lies between bounds that are excluded.
    const places = Math.max(2, 1 + Math.max(decimalPlaces(low), decimalPlaces(high)))
    const parts: Fragment[] = []
    for (let digits = 0; digits <= places; digits++) {
      const from = low === -Infinity ? undefined : scaledUp(low, digits, open.low)
      const to = high === Infinity ? undefined : scaledDown(high, digits, open.high)
      if (from !== undefined && to !== undefined && from > to) continue
      parts.push(this.#decimalsBetween(from, to, digits))
    }
    if (parts.length === 0) throw badInput(`No number lies between ${low} and ${high}`)
    return this.#builder.choice(parts)
  }

  /** Exactly this value, as JSON.stringify writes it. */
  literal(value: unknown): Fragment {
    return this.#builder.text(JSON.stringify(value))
  }

  /** Any JSON value. */
  any(): Fragment {
    return this.#rule('any', () =>
      this.#builder.choice([
        this.string(),
        this.number(),
        ...['true', 'false', 'null'].map((word) => this.#builder.text(word)),
        this.list(() => this.any(), 0, Infinity),
        this.map(() => this.any(), 0, Infinity)
      ])
    )
  }

  anyObject(): Fragment {
    return this.#rule('object', () => this.map(() => this.any(), 0, Infinity))
  }

  /** `[...]` of so many items. */
  list(item: () => Fragment, low: number, high: number): Fragment {
    return this.#bracketed('[', ']', item, low, high)
  }

  /** `{...}` of so many pairs with any keys. */
  map(value: () => Fragment, low: number, high: number): Fragment {
    const b = this.#builder
    const pair = (): Fragment =>
      b.sequence(this.string(), this.space(), b.text(':'), this.space(), value())
    return this.#bracketed('{', '}', pair, low, high)
  }

  comma(): Fragment {
    const b = this.#builder
    return b.sequence(this.space(), b.text(','), this.space())
  }

  #bracketed(
    open: string,
    close: string,
    item: () => Fragment,
    low: number,
    high: number
  ): Fragment {
    const b = this.#builder
    const more = (): Fragment => b.sequence(this.comma(), item())
    const some = (): Fragment =>
      b.sequence(item(), b.repeat(more, Math.max(0, low - 1), high === Infinity ? high : high - 1))
    const inner = high === 0 ? b.empty() : low > 0 ? some() : b.optional(some())
    return b.sequence(b.text(open), this.space(), inner, this.space(), b.text(close))
  }

  /** The rule of a name, made when it is first called; it may call itself. */
  #rule(name: string, make: () => Fragment): Fragment {
    const b = this.#builder
    const known = this.#rules.get(name)
    if (known !== undefined) return b.call(known)
    const rule = b.declare()
    this.#rules.set(name, rule)
    b.define(rule, make())
    return b.call(rule)
  }

  /** 0, or up to so many digits without a 0 at the front. */
  #digits(most: number): Fragment {
    const b = this.#builder
    const rest = b.repeat(() => b.range(0x30, 0x39), 0, most - 1)
    return b.choice([b.text('0'), b.sequence(b.range(0x31, 0x39), rest)])
  }

  /** n / 10 ** places for each whole n from low to high, written with so many places. */
  #decimalsBetween(low: bigint | undefined, high: bigint | undefined, places: number): Fragment {
    const b = this.#builder
    const most = 10n ** BigInt(MOST_DIGITS) - 1n
    const from = low ?? -most
    const to = high ?? most
    if (from > to) throw badInput('No whole number lies between minimum and maximum')
    const parts: Fragment[] = []
    if (from < 0n) {
      const nearest = to < 0n ? -to : 1n
      parts.push(b.sequence(b.text('-'), this.#digitsBetween(nearest, -from, places)))
    }
    if (to >= 0n) parts.push(this.#digitsBetween(from > 0n ? from : 0n, to, places))
    return b.choice(parts)
  }

  /** The same without a sign: 0 <= low <= high. */
  #digitsBetween(low: bigint, high: bigint, places: number): Fragment {
    const parts: Fragment[] = []
    const least = places + 1
    for (let length = least; length <= Math.max(least, high.toString().length); length++) {
      const smallest = length === least ? 0n : 10n ** BigInt(length - 1)
      const largest = 10n ** BigInt(length) - 1n
      const [from, to] = [low > smallest ? low : smallest, high < largest ? high : largest]
      if (from > to) continue
      const digits = (value: bigint): string => value.toString().padStart(length, '0')
      parts.push(this.#between(digits(from), digits(to), length - places))
    }
    return this.#builder.choice(parts)
  }

  /**
   * Texts of equally many digits, from low to high.
   * @param point how many digits stand before the point; none is written where no digit follows
   */
  #between(low: string, high: string, point: number): Fragment {
    const b = this.#builder
    if (low === '') return b.empty()
    const dot = point === 0 ? b.text('.') : b.empty()
    const [first, last] = [Number(low[0]), Number(high[0])]
    const [restLow, restHigh] = [low.slice(1), high.slice(1)]
    const digit = (from: number, to: number): Fragment => b.range(0x30 + from, 0x30 + to)
    const free = (from: number, to: number): Fragment =>
      b.sequence(
        digit(from, to),
        this.#between('0'.repeat(restLow.length), '9'.repeat(restLow.length), point - 1)
      )
    if (isAll(low, '0') && isAll(high, '9')) {
      return b.sequence(dot, digit(0, 9), this.#between(restLow, restHigh, point - 1))
    }
    if (first === last) {
      return b.sequence(dot, digit(first, first), this.#between(restLow, restHigh, point - 1))
    }
    const parts: Fragment[] = []
    let [from, to] = [first, last]
    if (!isAll(restLow, '0')) {
      const nines = '9'.repeat(restLow.length)
      parts.push(b.sequence(digit(first, first), this.#between(restLow, nines, point - 1)))
      from++
    }
    if (!isAll(restHigh, '9')) {
      const zeros = '0'.repeat(restHigh.length)
      parts.push(b.sequence(digit(last, last), this.#between(zeros, restHigh, point - 1)))
      to--
    }
    if (from <= to) parts.push(free(from, to))
    return b.sequence(dot, b.choice(parts))
  }
}

function isAll(digits: string, digit: string): boolean {
  return digits === digit.repeat(digits.length)
}

/** Control characters without a short escape, as \\u writes them. */
function otherControls(ranges: readonly CodeRange[]): string[] {
  const texts: string[] = []
  for (let point = 0; point < 0x20; point++) {
    if (point in SHORT_ESCAPES) continue
    if (!ranges.some(([first, last]) => point >= first && point <= last)) continue
    texts.push(`\\u${point.toString(16).padStart(4, '0')}`)
  }
  return texts
}

function decimalPlaces(value: number): number {
  if (!Number.isFinite(value)) return 0
  const [, fraction = ''] = value.toString().split('.')
  if (/e/.test(value.toString())) {
    throw badInput(`The bound ${value} cannot be used: it is written with an exponent`)
  }
  return Math.min(MOST_DIGITS, fraction.length)
}

/** The smallest whole n with n / 10 ** places >= value, or > value where it is open. */
function scaledUp(value: number, places: number, isOpen: boolean): bigint {
  const { floor, isExact } = scaled(value, places)
  return isExact && !isOpen ? floor : floor + 1n
}

/** The largest whole n with n / 10 ** places <= value, or < value where it is open. */
function scaledDown(value: number, places: number, isOpen: boolean): bigint {
  const { floor, isExact } = scaled(value, places)
  return isExact && isOpen ? floor - 1n : floor
}

/** value * 10 ** places rounded down, from its decimal digits: no binary rounding. */
function scaled(value: number, places: number): { floor: bigint; isExact: boolean } {
  const [whole = '0', fraction = ''] = Math.abs(value).toString().split('.')
  const kept = fraction.slice(0, places).padEnd(places, '0')
  const rest = fraction.slice(places)
  const magnitude = BigInt(whole + kept)
  const isExact = /^0*$/.test(rest)
  if (value >= 0) return { floor: magnitude, isExact }
  return { floor: isExact ? -magnitude : -magnitude - 1n, isExact }
}
