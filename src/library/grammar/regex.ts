// Regular expressions as JavaScript writes them, as fragments of a grammar. What no automaton can
// do, or would do at another place than asked, is refused by name.
import { badInput, type AppError } from '../../base/errors.ts'
import { complement, LAST_CODE_POINT, type CodeRange } from './code-points.ts'
import type { Fragment, GrammarBuilder } from './grammar.ts'

/** One character of some ranges, as the context writes characters. */
export type CharacterMaker = (ranges: readonly CodeRange[]) => Fragment

export interface RegexOptions {
  readonly builder: GrammarBuilder
  readonly character: CharacterMaker
  /**
   * 'whole': the text matches from its first character to its last. 'part': it holds a match, as
   * JSON schema's `pattern` says, unless ^ or $ bind it. Default 'whole'.
   */
  readonly covers?: 'whole' | 'part'
}

const MOST_LENGTH = 4096
const MOST_REPEATS = 4096
const MOST_DEPTH = 100

const DIGIT: readonly CodeRange[] = [[0x30, 0x39]]
const WORD: readonly CodeRange[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a]
]
const SPACE: readonly CodeRange[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff]
]
const LINE_ENDS: readonly CodeRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029]
]
export const ANY: readonly CodeRange[] = [[0, LAST_CODE_POINT]]

const CLASSES: Readonly<Record<string, readonly CodeRange[]>> = {
  d: DIGIT,
  D: complement(DIGIT),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE)
}
const CONTROLS: Readonly<Record<string, number>> = {
  t: 0x09,
  n: 0x0a,
  v: 0x0b,
  f: 0x0c,
  r: 0x0d,
  '0': 0
}

type Tree =
  | { readonly kind: 'character'; readonly ranges: readonly CodeRange[] }
  | { readonly kind: 'sequence'; readonly parts: readonly Tree[] }
  | { readonly kind: 'choice'; readonly parts: readonly Tree[] }
  | { readonly kind: 'repeat'; readonly part: Tree; readonly low: number; readonly high: number }
  | { readonly kind: 'begin' | 'end' }

/** @throws AppError BAD_INPUT or UNSUPPORTED, naming what cannot be used and where */
export function regexFragment(pattern: string, options: RegexOptions): Fragment {
  const { builder, character, covers = 'whole' } = options
  const tree = new Parser(pattern).parse()
  const any = (): Fragment => builder.star(character(ANY))
  const make = (part: Tree): Fragment => {
    switch (part.kind) {
      case 'character':
        if (part.ranges.length === 0) throw refused(pattern, 'a class without characters')
        return character(part.ranges)
      case 'sequence':
        return builder.sequence(...part.parts.map(make))
      case 'choice':
        return builder.choice(part.parts.map(make))
      case 'repeat':
        return builder.repeat(() => make(part.part), part.low, part.high)
      default:
        throw refused(pattern, "'^' or '$' that is neither first nor last")
    }
  }
  const alternatives = tree.kind === 'choice' ? tree.parts : [tree]
  const bound = alternatives.map((alternative) => {
    const parts = alternative.kind === 'sequence' ? [...alternative.parts] : [alternative]
    const begins = parts[0]?.kind === 'begin'
    if (begins) parts.shift()
    const ends = parts.at(-1)?.kind === 'end'
    if (ends) parts.pop()
    const inner = builder.sequence(...parts.map(make))
    if (covers === 'whole') return inner
    return builder.sequence(begins ? builder.empty() : any(), inner, ends ? builder.empty() : any())
  })
  return builder.choice(bound)
}

function refused(pattern: string, what: string): AppError {
  const shown = pattern.length > 60 ? `${pattern.slice(0, 60)}...` : pattern
  return badInput(`The pattern '${shown}' cannot be used: it has ${what}`)
}

class Parser {
  readonly #pattern: string
  readonly #points: readonly string[]
  #at = 0
  #depth = 0

  constructor(pattern: string) {
    this.#pattern = pattern
    if (pattern.length > MOST_LENGTH) throw this.#fault(`more than ${MOST_LENGTH} characters`)
    this.#points = [...pattern]
  }

  parse(): Tree {
    try {
      // What JavaScript itself refuses is told in its words.
      RegExp(this.#pattern, 'u')
    } catch (error) {
      throw badInput(`The pattern is none: ${(error as Error).message.slice(0, 200)}`)
    }
    const tree = this.#choice()
    if (this.#at < this.#points.length) throw this.#fault(`'${this.#peek()}' without its partner`)
    return tree
  }

  #fault(what: string): AppError {
    return refused(this.#pattern, what)
  }

  #peek(): string {
    return this.#points[this.#at] ?? ''
  }

  #take(): string {
    return this.#points[this.#at++] ?? ''
  }

  #skip(text: string): boolean {
    if (
      !this.#points
        .slice(this.#at, this.#at + text.length)
        .join('')
        .startsWith(text)
    )
      return false
    this.#at += text.length
    return true
  }

  #choice(): Tree {
    if (++this.#depth > MOST_DEPTH) throw this.#fault('too many groups within each other')
    const parts = [this.#sequence()]
    while (this.#skip('|')) parts.push(this.#sequence())
    this.#depth--
    const [only, ...others] = parts
    return only !== undefined && others.length === 0 ? only : { kind: 'choice', parts }
  }

  #sequence(): Tree {
    const parts: Tree[] = []
    while (this.#at < this.#points.length && this.#peek() !== '|' && this.#peek() !== ')') {
      parts.push(this.#repeated(this.#atom()))
    }
    return { kind: 'sequence', parts }
  }

  #repeated(part: Tree): Tree {
    const bounds = this.#bounds()
    if (!bounds) return part
    // The shortest match and the longest are of the same language.
    this.#skip('?')
    if (part.kind === 'begin' || part.kind === 'end') throw this.#fault('a repeated ^ or $')
    return { kind: 'repeat', part, ...bounds }
  }

  #bounds(): { low: number; high: number } | undefined {
    if (this.#skip('*')) return { low: 0, high: Infinity }
    if (this.#skip('+')) return { low: 1, high: Infinity }
    if (this.#skip('?')) return { low: 0, high: 1 }
    if (this.#peek() !== '{') return undefined
    const close = this.#points.indexOf('}', this.#at)
    const text = this.#points.slice(this.#at + 1, close).join('')
    const match = /^(\d+)(,?)(\d*)$/.exec(text)
    if (!match) return undefined
    this.#at = close + 1
    const low = Number(match[1])
    const high = match[2] === '' ? low : match[3] === '' ? Infinity : Number(match[3])
    if (low > MOST_REPEATS || (high !== Infinity && high > MOST_REPEATS)) {
      throw this.#fault(`more than ${MOST_REPEATS} repeats`)
    }
    return { low, high }
  }

  #atom(): Tree {
    const character = this.#take()
    switch (character) {
      case '^':
        return { kind: 'begin' }
      case '$':
        return { kind: 'end' }
      case '.':
        return { kind: 'character', ranges: complement(LINE_ENDS) }
      case '(':
        return this.#group()
      case '[':
        return { kind: 'character', ranges: this.#class() }
      case '\\':
        return { kind: 'character', ranges: this.#escape() }
      default:
        return { kind: 'character', ranges: [pointRange(character)] }
    }
  }

  #group(): Tree {
    if (this.#skip('?')) {
      const isNamed = this.#peek() === '<' && !/[=!]/.test(this.#points[this.#at + 1] ?? '')
      if (isNamed) this.#at = this.#points.indexOf('>', this.#at) + 1
      else if (!this.#skip(':')) throw this.#fault("'(?' with a look around or a flag")
    }
    const tree = this.#choice()
    this.#skip(')')
    return tree
  }

  /** Behind a backslash. */
  #escape(): readonly CodeRange[] {
    const character = this.#take()
    const known = CLASSES[character]
    if (known) return known
    const control = CONTROLS[character]
    if (control !== undefined) return [[control, control]]
    if (character === 'x') return [pointRange(this.#hex(2))]
    if (character === 'u') {
      if (this.#skip('{')) {
        const close = this.#points.indexOf('}', this.#at)
        const hex = this.#points.slice(this.#at, close).join('')
        this.#at = close + 1
        return [pointRange(String.fromCodePoint(Number.parseInt(hex, 16)))]
      }
      return [pointRange(this.#pair(this.#hex(4)))]
    }
    if (character === 'c') {
      const code = (this.#take().codePointAt(0) ?? 0) % 32
      return [[code, code]]
    }
    if (/[bBkpP1-9]/.test(character)) throw this.#fault(`'\\${character}'`)
    return [pointRange(character)]
  }

  #hex(length: number): string {
    const hex = this.#points.slice(this.#at, this.#at + length).join('')
    this.#at += length
    return String.fromCodePoint(Number.parseInt(hex, 16))
  }

  /** The character of which this is a half, if the other half is written behind it. */
  #pair(half: string): string {
    const other = this.#points.slice(this.#at, this.#at + 6).join('')
    const low = /^\\u(d[c-f][0-9a-f]{2})$/i.exec(other)?.[1]
    if (!/^[\ud800-\udbff]$/.test(half) || low === undefined) return half
    this.#at += 6
    return half + String.fromCharCode(Number.parseInt(low, 16))
  }

  /** Behind the opening bracket. */
  #class(): readonly CodeRange[] {
    const isNot = this.#skip('^')
    const ranges: CodeRange[] = []
    while (this.#peek() !== ']') {
      const first = this.#member()
      const [from] = first
      const isRange = this.#peek() === '-' && this.#points[this.#at + 1] !== ']'
      if (!isRange || first.length > 1 || !from || from[0] !== from[1]) {
        ranges.push(...first)
        continue
      }
      this.#take()
      const [to] = this.#member()
      ranges.push([from[0], to?.[0] ?? from[0]])
    }
    this.#take()
    return isNot ? complement(ranges) : ranges
  }

  #member(): readonly CodeRange[] {
    const character = this.#take()
    if (character !== '\\') return [pointRange(character)]
    // In a class, \b is a backspace.
    if (this.#skip('b')) return [[0x08, 0x08]]
    if (this.#skip('-')) return [[0x2d, 0x2d]]
    return this.#escape()
  }
}

function pointRange(character: string): CodeRange {
  const point = character.codePointAt(0) ?? 0
  return [point, point]
}
