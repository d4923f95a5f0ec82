// A list of calls as Python has them: `[get_weather(city="Paris", days=3), now()]`. The grammar is
// that of transformers' `python-call-list`: keywords only, and values of JSON's kinds.

export interface PythonCall {
  readonly name: string
  readonly values: Readonly<Record<string, unknown>>
}

const MAX_DEPTH = 100
const MAX_LENGTH = 2 ** 20
const NAME = /[A-Za-z_]\w*(?:[-.]\w+)*/y
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const ESCAPES: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t'
}
const WORDS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['True', true],
  ['true', true],
  ['False', false],
  ['false', false],
  ['None', null],
  ['null', null]
])

class NoCalls extends Error {}

/** Undefined for any other text. */
export function parseCallList(text: string): PythonCall[] | undefined {
  if (text.length > MAX_LENGTH) return undefined
  const reader = new Reader(text)
  try {
    const calls = reader.list(() => reader.call())
    return reader.isAtEnd() ? calls : undefined
  } catch (error) {
    if (error instanceof NoCalls) return undefined
    throw error
  }
}

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  isAtEnd(): boolean {
    this.#skip()
    return this.#at === this.#text.length
  }

  list<T>(item: () => T): T[] {
    this.#need('[')
    return this.#items(']', item)
  }

  call(): PythonCall {
    const name = this.#match(NAME)
    this.#need('(')
    const values = this.#items(')', (): [string, unknown] => {
      const key = this.#match(NAME)
      this.#need('=')
      return [key, this.#value(0)]
    })
    return { name, values: this.#unique(values) }
  }

  #value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw new NoCalls()
    this.#skip()
    const char = this.#text[this.#at] ?? ''
    if (char === "'" || char === '"') return this.#string(char)
    if (char === '[') return this.list(() => this.#value(depth + 1))
    if (char === '{') {
      this.#at++
      const pairs = this.#items('}', (): [string, unknown] => {
        this.#skip()
        const key = this.#string(this.#text[this.#at] ?? '')
        this.#need(':')
        return [key, this.#value(depth + 1)]
      })
      return this.#unique(pairs)
    }
    if (/[-\d]/.test(char)) {
      const value = Number(this.#match(NUMBER))
      if (!Number.isFinite(value)) throw new NoCalls()
      return value
    }
    const word = this.#match(NAME)
    if (!WORDS.has(word)) throw new NoCalls()
    return WORDS.get(word)
  }

  #string(quote: string): string {
    if (quote !== "'" && quote !== '"') throw new NoCalls()
    let made = ''
    for (let at = this.#at + 1; at < this.#text.length; at++) {
      const char = this.#text[at] ?? ''
      if (char === quote) {
        this.#at = at + 1
        return made
      }
      if (char === '\n' || char === '\r') throw new NoCalls()
      if (char !== '\\') {
        made += char
        continue
      }
      const escaped = this.#text[++at] ?? ''
      if (escaped !== 'u') {
        const known = ESCAPES[escaped] ?? (/[\\'"/]/.test(escaped) ? escaped : undefined)
        if (known === undefined) throw new NoCalls()
        made += known
        continue
      }
      const digits = this.#text.slice(at + 1, at + 5)
      if (!/^[\da-fA-F]{4}$/.test(digits)) throw new NoCalls()
      made += String.fromCharCode(Number.parseInt(digits, 16))
      at += 4
    }
    throw new NoCalls()
  }

  #items<T>(close: string, item: () => T): T[] {
    const items: T[] = []
    if (this.#takes(close)) return items
    for (;;) {
      items.push(item())
      if (this.#takes(close)) return items
      this.#need(',')
    }
  }

  #unique(pairs: readonly [string, unknown][]): Record<string, unknown> {
    const made = Object.fromEntries(pairs)
    if (Object.keys(made).length !== pairs.length) throw new NoCalls()
    return made
  }

  #match(pattern: RegExp): string {
    this.#skip()
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    if (!found) throw new NoCalls()
    this.#at += found[0].length
    return found[0]
  }

  #takes(char: string): boolean {
    this.#skip()
    if (this.#text[this.#at] !== char) return false
    this.#at++
    return true
  }

  #need(char: string): void {
    if (!this.#takes(char)) throw new NoCalls()
  }

  #skip(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++
  }
}
