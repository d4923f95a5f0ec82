// Reads a call as Qwen's coders write it: <function=NAME>, <parameter=KEY>VALUE</parameter> ...,
// </function>. Values are text; a tool's schema says which of them are more.
import type { CallSink, OneCall, OneCallResult, ReplyTool } from './types.ts'

const OPEN = '<function='
const PARAMETER = '<parameter='
const CLOSE_PARAMETER = '</parameter>'
const CLOSE = '</function>'
const MORE: OneCallResult = { state: 'more', rest: '' }

export class XmlCall implements OneCall {
  readonly #sink: CallSink
  #text = ''
  #tool: ReplyTool | undefined
  #isStarted = false
  #count = 0

  constructor(sink: CallSink) {
    this.#sink = sink
  }

  push(text: string): OneCallResult {
    this.#text += text
    if (!this.#isStarted) {
      if (!this.#text.startsWith(OPEN)) {
        return OPEN.startsWith(this.#text) ? MORE : { state: 'failed', rest: this.#text }
      }
      const close = this.#text.indexOf('>')
      if (close < 0) return MORE
      const name = this.#text.slice(OPEN.length, close).trim()
      this.#text = this.#text.slice(close + 1)
      this.#tool = this.#sink.tools.get(name)
      this.#isStarted = true
      this.#sink.start(name)
    }
    for (;;) {
      this.#text = this.#text.trimStart()
      if (this.#text.startsWith(CLOSE)) {
        this.#finish()
        return { state: 'done', rest: this.#text.slice(CLOSE.length) }
      }
      if (!this.#text.startsWith(PARAMETER)) {
        if (CLOSE.startsWith(this.#text) || PARAMETER.startsWith(this.#text)) return MORE
        // The end was left out, or something else follows.
        this.#finish()
        return { state: 'done', rest: this.#text }
      }
      const close = this.#text.indexOf('>')
      const end = this.#text.indexOf(CLOSE_PARAMETER)
      if (close < 0 || end < 0) return MORE
      const key = this.#text.slice(PARAMETER.length, close).trim()
      this.#parameter(key, this.#text.slice(close + 1, end))
      this.#text = this.#text.slice(end + CLOSE_PARAMETER.length)
    }
  }

  end(): boolean {
    if (this.#isStarted) this.#finish()
    return this.#isStarted
  }

  #parameter(key: string, raw: string): void {
    // One line end belongs to each of the tags.
    const value = raw.replace(/^\r?\n/, '').replace(/\r?\n$/, '')
    const json = JSON.stringify(typedValue(value, schemaOf(this.#tool, key)))
    this.#sink.arguments(`${this.#count === 0 ? '{' : ', '}${JSON.stringify(key)}: ${json}`)
    this.#count++
  }

  #finish(): void {
    this.#sink.arguments(this.#count === 0 ? '{}' : '}')
    this.#sink.end()
  }
}

function schemaOf(tool: ReplyTool | undefined, key: string): unknown {
  const properties = tool?.parameters?.['properties']
  if (typeof properties !== 'object' || properties === null) return undefined
  return Object.hasOwn(properties, key) ? (properties as Record<string, unknown>)[key] : undefined
}

/** A text as its schema wants it, or as it stands where that cannot be. */
export function typedValue(text: string, schema: unknown): unknown {
  const types = typesOf(schema)
  if (types.length === 0 || types.includes('string')) return text
  if (types.includes('boolean') && /^\s*(?:true|false)\s*$/i.test(text)) {
    return text.trim().toLowerCase() === 'true'
  }
  if (types.includes('null') && /^\s*(?:null|None)\s*$/.test(text)) return null
  try {
    const value: unknown = JSON.parse(text)
    const isFit = types.some((type) => fits(value, type))
    return isFit ? value : text
  } catch {
    return text
  }
}

function typesOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { type, anyOf, oneOf } = schema as Record<string, unknown>
  const own = Array.isArray(type) ? type : [type]
  const within = [anyOf, oneOf].flatMap((list) => (Array.isArray(list) ? list.slice(0, 64) : []))
  return [
    ...own.filter((each): each is string => typeof each === 'string'),
    ...within.flatMap((each: unknown) => typesOf({ type: (each as { type?: unknown })?.type }))
  ]
}

function fits(value: unknown, type: string): boolean {
  switch (type) {
    case 'integer':
      return Number.isInteger(value)
    case 'number':
      return typeof value === 'number'
    case 'array':
      return Array.isArray(value)
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    default:
      return false
  }
}
