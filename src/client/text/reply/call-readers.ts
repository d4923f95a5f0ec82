// What follows a mark, by family: Hermes and Qwen write one call or several between tags, Mistral a
// list or names with arguments, Llama 3 calls alone or behind a mark, or a call as code.
import { JsonCall } from './json-call.ts'
import { parseCallList } from './python-calls.ts'
import type { CallReader, CallResult, CallSink, CallStyle, OneCall } from './types.ts'
import { XmlCall } from './xml-call.ts'

/** Marks that calls begin behind. */
export const OPENINGS: Readonly<Record<CallStyle, readonly string[]>> = {
  hermes: ['<tool_call>'],
  llama: ['<|python_tag|>'],
  mistral: ['[TOOL_CALLS]']
}

/** @throws TypeError for a style that there is not */
export function callReader(style: CallStyle, sink: CallSink): CallReader {
  switch (style) {
    case 'hermes':
      return new Calls(hermes(sink))
    case 'mistral':
      return new Calls(mistral(sink))
    case 'llama':
      return new Calls(llama(sink, false))
    default:
      throw new TypeError(`No such style of calls: ${String(style)}`)
  }
}

/** Reads an answer that may be nothing but calls, without a mark, where a family writes such. */
export function bareReader(style: CallStyle, sink: CallSink): CallReader | undefined {
  return style === 'llama' ? new Calls(llama(sink, true)) : undefined
}

/** What a text is that begins behind a mark or a call, spaces aside. */
type Next = 'more' | 'failed' | { readonly call: OneCall; readonly rest: string } | CallResult

interface Grammar {
  /** `count` calls came before. */
  next(text: string, count: number): Next
  /** At the end of an answer that no call has come of; true when it told some. */
  last?(text: string): boolean
}

class Calls implements CallReader {
  readonly #grammar: Grammar
  #call: OneCall | undefined
  #text = ''
  #count = 0
  /** All that was given, for a text that turns out to be no call. */
  #all = ''

  constructor(grammar: Grammar) {
    this.#grammar = grammar
  }

  push(text: string): CallResult | undefined {
    if (this.#count === 0) this.#all += text
    this.#text += text
    for (;;) {
      if (this.#call) {
        const { state, rest } = this.#call.push(this.#text)
        this.#text = rest
        if (state === 'more') return undefined
        this.#call = undefined
        if (state === 'failed') return this.#failed()
        this.#count++
      }
      const trimmed = this.#text.trimStart()
      if (trimmed === '') return undefined
      const next = this.#grammar.next(trimmed, this.#count)
      if (next === 'more') return undefined
      if (next === 'failed') return this.#failed()
      if ('isCall' in next) return next
      this.#call = next.call
      this.#text = next.rest
    }
  }

  end(): CallResult {
    if (this.#call?.end()) return { isCall: true, rest: '' }
    if (this.#call === undefined && this.#count === 0 && this.#grammar.last?.(this.#text.trim())) {
      return { isCall: true, rest: '' }
    }
    // What the answer's end cut off of a closing mark is no text.
    const trimmed = this.#text.trimStart()
    const isMark = this.#call === undefined && this.#count > 0 && trimmed !== ''
    if (isMark && this.#grammar.next(trimmed, this.#count) === 'more') {
      return { isCall: true, rest: '' }
    }
    return this.#failed()
  }

  /** What comes behind a call that was told stands as text. */
  #failed(): CallResult {
    return this.#count > 0 ? { isCall: true, rest: this.#text } : { isCall: false, rest: this.#all }
  }
}

const HERMES_CLOSE = '</tool_call>'

function hermes(sink: CallSink): Grammar {
  return {
    next(text, count) {
      if (count > 0) {
        if (text.startsWith(HERMES_CLOSE)) {
          return { isCall: true, rest: text.slice(HERMES_CLOSE.length) }
        }
        if (HERMES_CLOSE.startsWith(text)) return 'more'
      }
      if (text.startsWith('{')) return { call: new JsonCall(sink), rest: text }
      if (!text.startsWith('<') || count > 0) return 'failed'
      return { call: new XmlCall(sink), rest: text }
    }
  }
}

/** A name, an id and arguments; each may be there in part. */
const NAMED = /^([\w.-]{1,128})(?:\[CALL_ID\]([\w-]{1,64}))?(?:\[ARGS\])?\s*(?=\{)/
const NAME = /^[\w.-]{1,128}/
const CALL_ID = /^\[CALL_ID\][\w-]{0,64}/

/** `[{...}, {...}]`, or `name[CALL_ID]id[ARGS]{...}`, or `name{...}`. */
function mistral(sink: CallSink): Grammar {
  let isList = false
  const nextOfList = (text: string, count: number): Next => {
    if (text.startsWith(']') && count > 0) return { isCall: true, rest: text.slice(1) }
    if (count > 0 && !text.startsWith(',')) return 'failed'
    const item = count > 0 ? text.slice(1).trimStart() : text
    if (item === '') return 'more'
    return item.startsWith('{') ? { call: new JsonCall(sink), rest: item } : 'failed'
  }
  return {
    next(text, count) {
      if (isList) return nextOfList(text, count)
      if (count > 0) return { isCall: true, rest: text }
      if (text.startsWith('[')) {
        const item = text.slice(1).trimStart()
        if (item === '') return 'more'
        isList = true
        return nextOfList(item, count)
      }
      const named = NAMED.exec(text)
      if (named) {
        const [whole, name = '', id] = named
        const call = new JsonCall(sink, { name, ...(id === undefined ? {} : { id }) })
        return { call, rest: text.slice(whole.length) }
      }
      const behind = text.replace(NAME, '')
      if (behind === text) return 'failed'
      const tail = behind.replace(CALL_ID, '').trim()
      return ['[CALL_ID]', '[ARGS]'].some((mark) => mark.startsWith(tail)) ? 'more' : 'failed'
    }
  }
}

/** Behind the mark, or from an answer's first character on, where only known tools are called. */
function llama(sink: CallSink, isBare: boolean): Grammar {
  // A list of calls as code is told when it is whole.
  const mayBeCode = isBare ? /^\[\s*(?:[\w.]*$|[\w.]+\()/ : /^[\w.]*$|^[\w.]+\(/
  return {
    next(text, count) {
      const isNext = count > 0 && /^[;,]/.test(text)
      if (count > 0 && !isNext) return { isCall: true, rest: text }
      const item = isNext ? text.slice(1).trimStart() : text
      if (item === '') return 'more'
      if (item.startsWith('{')) {
        return { call: new JsonCall(sink, { isStrict: isBare }), rest: item }
      }
      return count === 0 && mayBeCode.test(item) ? 'more' : 'failed'
    },
    last(text) {
      const calls = parseCallList(isBare ? text : `[${text}]`) ?? []
      const named = calls.map(({ name, values }) => ({ name: name.replace(/\.call$/, ''), values }))
      if (named.length === 0 || !named.every(({ name }) => sink.tools.has(name))) return false
      for (const { name, values } of named) {
        sink.start(name)
        sink.arguments(JSON.stringify(values))
        sink.end()
      }
      return true
    }
  }
}
