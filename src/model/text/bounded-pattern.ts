// Whether a pattern of a tokenizer.json can take no longer than its text times the longest word of
// it. Patterns run in this process and cannot be stopped, and many that look harmless take years
// over one word. Knows the parts of Oniguruma's syntax that tokenizers use; all else is refused.

/** What a character may be that a part of a pattern matches. */
const WORD = 1
const SPACE = 2
const OTHER = 4
const ANY = 7

/** From so many on, repeating counts as without an end. */
const MANY = 17
/** Ways to match that are tried at one place. */
const MAX_WAYS = 64
const MAX_LENGTH = 4096

interface Part {
  readonly kinds: number
  readonly min: number
  readonly max: number
  /** Of a group: what it holds, each a sequence. */
  readonly choices?: readonly (readonly Part[])[]
  /** Of one letter as it stands: that letter. */
  readonly letter?: string
  /** Letters that are certainly none of it. */
  readonly without?: string
}

/** False for a pattern that is not understood, too. */
export function isBoundedPattern(pattern: string): boolean {
  return isWithin(pattern, STRICT)
}

/** The same for texts of a few hundred characters, whose square is no time. */
export function isHarmlessPattern(pattern: string): boolean {
  return isWithin(pattern, { givers: 2, isAny: true })
}

interface Limits {
  /** Repetitions that may be given up step by step, one within the other. */
  readonly givers: number
  /** Whether what is repeated may be all that texts are made of. */
  readonly isAny: boolean
}

const STRICT: Limits = { givers: 1, isAny: false }

function isWithin(pattern: string, limits: Limits): boolean {
  if (pattern.length > MAX_LENGTH) return false
  const choices = new Parser(pattern).parse()
  return choices?.every((choice) => waysOf(choice, END, limits) <= MAX_WAYS) ?? false
}

/** What stands behind a sequence. */
interface Behind {
  /** Whether something must match there, so that all ways of the sequence are tried. */
  readonly needs: boolean
  /** Repetitions there that are given up step by step. */
  readonly givers: number
  readonly next: Part | undefined
}

const END: Behind = { needs: false, givers: 0, next: undefined }

/**
 * Ways to match a sequence that are tried at one place at most, those of one repetition of words or
 * of spaces not counted; Infinity when there is no such bound.
 */
function waysOf(sequence: readonly Part[], behind: Behind, limits: Limits): number {
  let ways = 1
  let { needs, givers, next } = behind
  for (const part of sequence.toReversed()) {
    const { kinds, min, max, choices } = part
    if (choices) {
      if (max > 1 && !choices.every((choice) => isFixed(choice))) return Infinity
      if (max > 1 && choices.length > 1) return Infinity
      const own = choices.map((choice) => waysOf(choice, { needs, givers, next }, limits))
      if (needs) ways *= own.reduce((sum, each) => sum + each, min === 0 ? 1 : 0)
      else ways *= Math.max(...own)
      const gives = (choice: readonly Part[]): boolean =>
        choice.some(
          (each, i) => isEndless(each) && !(i === choice.length - 1 && endsAt(each, next))
        )
      if (needs && choices.some(gives)) givers++
    } else if (isEndless(part)) {
      // What all texts are made of would be tried from each place to the text's end.
      if (needs && kinds !== WORD && kinds !== SPACE && !limits.isAny) return Infinity
      if (needs && !endsAt(part, next)) givers++
    } else if (needs) ways *= max - min + 1
    if (givers > limits.givers) return Infinity
    needs ||= min > 0
    next = part
  }
  return ways
}

/** It ends where the next letter comes, which it cannot be: nothing is given up. */
function endsAt({ without }: Part, next: Part | undefined): boolean {
  if (next?.letter === undefined || next.min !== 1 || next.max !== 1) return false
  return without?.includes(next.letter) ?? false
}

function isEndless({ max }: Part): boolean {
  return max >= MANY
}

function isFixed(sequence: readonly Part[]): boolean {
  return sequence.every(({ min, max, choices }) => min === max && choices === undefined)
}

/** Kinds by the letter of an escape. */
const ESCAPES: Readonly<Record<string, number>> = {
  s: SPACE,
  S: WORD | OTHER,
  w: WORD,
  W: SPACE | OTHER,
  d: WORD,
  D: ANY,
  h: WORD,
  r: SPACE,
  n: SPACE,
  t: SPACE,
  v: SPACE,
  f: SPACE
}
const REPEATS: Readonly<Record<string, readonly [number, number]>> = {
  '?': [0, 1],
  '*': [0, Infinity],
  '+': [1, Infinity]
}

class Unknown extends Error {}

class Parser {
  readonly #source: string
  #at = 0

  constructor(source: string) {
    this.#source = source
  }

  parse(): Part[][] | undefined {
    try {
      const choices = this.#choices(0)
      return this.#at === this.#source.length ? choices : undefined
    } catch (error) {
      if (error instanceof Unknown) return undefined
      throw error
    }
  }

  #choices(depth: number): Part[][] {
    if (depth > 8) throw new Unknown()
    const choices: Part[][] = [[]]
    while (this.#at < this.#source.length && this.#source[this.#at] !== ')') {
      if (this.#take('|')) choices.push([])
      else choices.at(-1)?.push(this.#repeated(this.#atom(depth)))
    }
    return choices
  }

  #atom(depth: number): Part {
    const once = (kinds: number): Part => ({ kinds, min: 1, max: 1 })
    if (this.#take('(')) {
      const looks = /^\?<?[=!]/.exec(this.#source.slice(this.#at, this.#at + 3))
      if (looks) this.#at += looks[0].length
      else if (this.#take('?') && !this.#takeMatch(/i?:|>/y)) throw new Unknown()
      const choices = this.#choices(depth + 1)
      if (!this.#take(')')) throw new Unknown()
      if (!looks) return { kinds: ANY, min: 1, max: 1, choices }
      // Looking round costs nothing while it is at one character.
      if (choices.some((each) => each.length !== 1 || !isFixed(each))) throw new Unknown()
      return once(ANY)
    }
    if (this.#take('[')) {
      const from = this.#at
      const kinds = this.#class(0)
      const plain = /^\^((?:[^\\[\]&-]|\\[nrt])*)\]$/.exec(this.#source.slice(from, this.#at))
      return plain ? { ...once(kinds), without: plain[1] ?? '' } : once(kinds)
    }
    if (this.#take('.')) return once(ANY)
    if (this.#take('^') || this.#take('$')) return once(ANY)
    if (/[*+?{}\])]/.test(this.#source[this.#at] ?? '')) throw new Unknown()
    const from = this.#at
    const kinds = this.#character()
    const letter = this.#source.slice(from, this.#at)
    return letter.startsWith('\\') ? once(kinds) : { ...once(kinds), letter }
  }

  /** Within a class, behind its bracket. */
  #class(depth: number): number {
    if (depth > 4) throw new Unknown()
    const isNegated = this.#take('^')
    let kinds = 0
    let within = ANY
    for (let i = 0; i === 0 || this.#source[this.#at] !== ']'; i++) {
      if (this.#at >= this.#source.length) throw new Unknown()
      if (this.#take('&&')) {
        within &= kinds
        kinds = 0
      } else if (this.#take('[')) kinds |= this.#class(depth + 1)
      else kinds |= this.#character()
    }
    kinds &= within
    this.#at++
    if (!isNegated) return kinds
    // What is left out whole is told only of all spaces.
    return kinds & SPACE ? WORD | OTHER : ANY
  }

  #character(): number {
    if (this.#take('\\')) {
      const letter = this.#next()
      if (letter === 'p' || letter === 'P') {
        const [name] = this.#takeMatch(/\{\^?([A-Za-z_=]{1,40})\}/y) ?? []
        if (name === undefined) throw new Unknown()
        const isWord = /^\{(?:[LMN][a-z]?|Han|Hiragana|Katakana|Hangul|Script=\w+)\}$/.test(name)
        return letter === 'p' && isWord ? WORD : ANY
      }
      if (letter === 'u' || letter === 'x') {
        if (!this.#takeMatch(letter === 'u' ? /[0-9a-fA-F]{4}/y : /[0-9a-fA-F]{2}/y)) {
          throw new Unknown()
        }
        return ANY
      }
      const known = ESCAPES[letter]
      if (known !== undefined) return known
      if (/[A-Za-z0-9]/.test(letter)) throw new Unknown() // references, borders
      return OTHER
    }
    const character = this.#next()
    if (/[\p{L}\p{M}\p{N}]/u.test(character)) return WORD
    return /\s/.test(character) ? SPACE : OTHER
  }

  #repeated(part: Part): Part {
    const sign = this.#source[this.#at] ?? ''
    let bounds = REPEATS[sign]
    if (bounds) this.#at++
    else if (sign === '{') {
      const found = this.#takeMatch(/\{(\d{1,3})(,?)(\d{0,3})\}/y)
      if (!found) throw new Unknown()
      const [, least, comma, most] = found
      bounds = [Number(least), most ? Number(most) : comma ? Infinity : Number(least)]
    } else return part
    // Lazy and possessive change what is tried first, and how little is given back.
    if (!this.#take('?')) this.#take('+')
    if (/[*+?{]/.test(this.#source[this.#at] ?? '')) throw new Unknown()
    return { ...part, min: bounds[0], max: bounds[1] }
  }

  #next(): string {
    const code = this.#source.codePointAt(this.#at)
    if (code === undefined) throw new Unknown()
    const character = String.fromCodePoint(code)
    this.#at += character.length
    return character
  }

  #take(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  #takeMatch(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#source)
    if (!found) return undefined
    this.#at += found[0].length
    return found
  }
}
