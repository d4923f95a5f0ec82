// Reads one call as JSON while it is written: its name, then its arguments piece by piece. Knows
// the names that families give to the parts; what stands around a call is the readers' business.
import type { CallSink, OneCall, OneCallResult } from './types.ts'

export interface JsonCallOptions {
  /** The name is known, and the text is the arguments alone. */
  readonly name?: string
  readonly id?: string
  /** Only a tool that there is is called: any other JSON is text. Default false. */
  readonly isStrict?: boolean
}

type State = OneCallResult['state']

const ARGUMENTS: ReadonlySet<string> = new Set(['arguments', 'parameters', 'args', 'input'])
/** An object that holds name and arguments, as OpenAI writes it. */
const WRAPPER = 'function'

type Phase = 'open' | 'key' | 'colon' | 'value' | 'within' | 'next'

export class JsonCall implements OneCall {
  readonly #sink: CallSink
  readonly #isStrict: boolean
  readonly #isBare: boolean
  #phase: Phase
  /** Objects that are open and hold keys: the call, and its wrapper. */
  #level = 0
  #key = ''
  /** The value or key under way, as it is written. */
  #raw = ''
  #depth = 0
  #inString = false
  #isEscaped = false
  #name: string | undefined
  #id: string | undefined
  #hasArguments = false
  #isStreaming = false
  /** Arguments that wait for the name. */
  #waiting = ''
  #isStarted = false

  constructor(sink: CallSink, options: JsonCallOptions = {}) {
    this.#sink = sink
    this.#isStrict = options.isStrict ?? false
    this.#name = options.name
    this.#id = options.id
    this.#isBare = options.name !== undefined
    this.#phase = this.#isBare ? 'value' : 'open'
    if (this.#isBare) this.#key = 'arguments'
  }

  push(text: string): OneCallResult {
    for (let i = 0; i < text.length; i++) {
      const state = this.#take(text[i] ?? '')
      if (state === 'done') return { state, rest: text.slice(i + 1) }
      // What follows is no JSON: a call that was told already ends here.
      if (state === 'failed') return { state: this.end() ? 'done' : state, rest: text.slice(i) }
    }
    this.#flush()
    return { state: 'more', rest: '' }
  }

  end(): boolean {
    if (!this.#isStarted) return false
    this.#flush()
    this.#sink.end()
    return true
  }

  #take(char: string): State {
    const isSpace = char === ' ' || char === '\n' || char === '\r' || char === '\t'
    switch (this.#phase) {
      case 'open':
        if (isSpace) return 'more'
        if (char !== '{') return 'failed'
        this.#level = 1
        this.#phase = 'key'
        return 'more'
      case 'key':
        if (this.#raw === '' && isSpace) return 'more'
        if (this.#raw === '' && char === '}') return this.#closeLevel()
        if (this.#raw === '' && char !== '"') return 'failed'
        this.#raw += char
        if (!this.#endsString(char)) return 'more'
        this.#key = String(parsed(this.#raw))
        this.#raw = ''
        this.#phase = 'colon'
        return 'more'
      case 'colon':
        if (isSpace) return 'more'
        if (char !== ':') return 'failed'
        this.#phase = 'value'
        return 'more'
      case 'value':
        return isSpace ? 'more' : this.#beginValue(char)
      case 'within':
        return this.#within(char, isSpace)
      case 'next':
        if (isSpace) return 'more'
        if (char === '}') return this.#closeLevel()
        if (char !== ',') return 'failed'
        this.#phase = 'key'
        return 'more'
      default:
        throw new TypeError('No such place in a call')
    }
  }

  #beginValue(char: string): State {
    if (this.#key === WRAPPER && char === '{' && this.#level === 1) {
      this.#level = 2
      this.#phase = 'key'
      return 'more'
    }
    if (!/["{[\-0-9a-zA-Z]/.test(char)) return 'failed'
    const isArguments = ARGUMENTS.has(this.#key) && !this.#hasArguments
    this.#isStreaming = isArguments && char === '{'
    this.#hasArguments ||= isArguments
    this.#phase = 'within'
    if (this.#isStreaming && !this.#begin()) return 'failed'
    return this.#within(char, false)
  }

  #within(char: string, isSpace: boolean): State {
    const isPlain = this.#depth === 0 && !this.#inString && !/["{[]/.test(char)
    if (isPlain && (isSpace || char === ',' || char === '}' || char === ']')) {
      // A number or a word ends before what ends it.
      const state = this.#endValue()
      return state === 'more' ? this.#take(char) : state
    }
    // Models write lines within a string as they are.
    this.#raw += this.#inString && char < ' ' ? JSON.stringify(char).slice(1, -1) : char
    if (this.#inString || char === '"') {
      const isEnd = this.#endsString(char)
      return isEnd && this.#depth === 0 ? this.#endValue() : 'more'
    }
    if (char === '{' || char === '[') this.#depth++
    else if (char === '}' || char === ']') {
      this.#depth--
      if (this.#depth === 0) return this.#endValue()
    }
    return 'more'
  }

  /** Follows a string; whether `char` ends it. */
  #endsString(char: string): boolean {
    if (!this.#inString) {
      this.#inString = char === '"'
      return false
    }
    const isEnd = char === '"' && !this.#isEscaped
    this.#isEscaped = char === '\\' && !this.#isEscaped
    if (isEnd) this.#inString = false
    return isEnd
  }

  #endValue(): State {
    const isArguments = ARGUMENTS.has(this.#key)
    if (this.#isStreaming) this.#flush()
    else {
      const value = parsed(this.#raw)
      if (this.#key === 'name' && typeof value === 'string') this.#name ??= value
      else if (this.#key === 'id' && typeof value === 'string') this.#id ??= value
      else if (isArguments) this.#waiting = argumentsOf(value)
      if (this.#key === 'name' && !this.#isTool()) return 'failed'
    }
    this.#raw = ''
    this.#isStreaming = false
    this.#phase = 'next'
    if (this.#hasArguments && !this.#begin()) return 'failed'
    return this.#isBare ? this.#finish() : 'more'
  }

  #closeLevel(): State {
    this.#level--
    this.#phase = 'next'
    return this.#level > 0 ? 'more' : this.#finish()
  }

  #finish(): State {
    if (this.#name === undefined || (!this.#hasArguments && this.#isStrict)) return 'failed'
    if (!this.#begin()) return 'failed'
    if (!this.#hasArguments) this.#sink.arguments('{}')
    this.#sink.end()
    return 'done'
  }

  /** Tells the call as soon as its name is known; false when there is no such tool. */
  #begin(): boolean {
    if (this.#name === undefined) return true
    if (!this.#isTool()) return false
    if (!this.#isStarted) this.#sink.start(this.#name, this.#id)
    this.#isStarted = true
    if (this.#waiting !== '') this.#sink.arguments(this.#waiting)
    this.#waiting = ''
    return true
  }

  #isTool(): boolean {
    return !this.#isStrict || this.#name === undefined || this.#sink.tools.has(this.#name)
  }

  /** Hands over what there is of the arguments. */
  #flush(): void {
    if (!this.#isStreaming || this.#raw === '') return
    if (this.#isStarted) this.#sink.arguments(this.#raw)
    else this.#waiting += this.#raw
    this.#raw = ''
  }
}

/** Arguments may be the JSON of an object within a string, or nothing. */
function argumentsOf(value: unknown): string {
  if (typeof value === 'string') {
    const within = parsed(value)
    if (typeof within === 'object' && within !== null) return value
    return value.trim() === '' ? '{}' : JSON.stringify(value)
  }
  return value === null || value === undefined ? '{}' : JSON.stringify(value)
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}
