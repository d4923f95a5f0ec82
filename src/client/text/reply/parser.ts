// Takes an answer apart while it comes: text, what the model thought, and calls of tools. Text is
// given out up to an opening mark; a mark that turns out to be plain text is given out too. The
// caller says the format, which formats.ts finds; whoever answers requests with tools calls it.
import { bareReader, callReader, OPENINGS } from './call-readers.ts'
import { Deltas } from './deltas.ts'
import { TemplateParser } from './template-parser.ts'
import type { CallReader, ReplyDelta, ReplyFormat, ReplyParser, ReplyTool } from './types.ts'

export interface ReplyParserOptions {
  readonly format: ReplyFormat
  /** What may be called. Default: nothing, and marks of calls are text. */
  readonly tools?: readonly ReplyTool[]
  /** The end of the text that the model was given: thinking may have been opened there. */
  readonly prompt?: string
  /** A fresh id for a call. */
  readonly newId: () => string
}

export function createReplyParser(options: ReplyParserOptions): ReplyParser {
  const { format, tools = [], prompt = '', newId } = options
  const sink = new Deltas(tools, newId)
  if (format.template) return new TemplateParser(format.template, sink, prompt)
  return new Parser(format, sink, prompt)
}

type Mode = 'beginning' | 'text' | 'reasoning' | 'calls'

class Parser implements ReplyParser {
  readonly #format: ReplyFormat
  readonly #openings: readonly string[]
  readonly #sink: Deltas
  #mode: Mode = 'beginning'
  #buffer = ''
  /** Spaces at the beginning of a part belong to the format. */
  #isFresh = false
  #hasThought = false
  #mark = ''
  #reader: CallReader | undefined

  constructor(format: ReplyFormat, sink: Deltas, prompt: string) {
    this.#format = format
    this.#sink = sink
    this.#openings = format.calls && sink.tools.size > 0 ? OPENINGS[format.calls] : []
    const { reasoning } = format
    if (reasoning && prompt.trimEnd().endsWith(reasoning.open)) this.#think()
  }

  get isThinking(): boolean {
    return this.#mode === 'reasoning'
  }

  push(text: string): ReplyDelta[] {
    this.#buffer += text
    while (this.#step());
    return this.#sink.take()
  }

  end(): ReplyDelta[] {
    while (this.#step());
    while (this.#reader) {
      this.#leave(this.#reader.end())
      while (this.#step());
    }
    const rest = this.#buffer
    this.#buffer = ''
    if (this.#mode === 'reasoning') this.#sink.reasoning(rest.trimEnd())
    else this.#text(rest)
    return this.#sink.take()
  }

  /** Whether there is more to do with what is here. */
  #step(): boolean {
    if (this.#buffer === '') return false
    switch (this.#mode) {
      case 'beginning':
        return this.#begin()
      case 'text':
        return this.#readText()
      case 'reasoning':
        return this.#readReasoning()
      case 'calls':
        return this.#readCalls()
      default:
        throw new TypeError('No such part of an answer')
    }
  }

  /** What an answer may begin with: a thought, or calls without a mark. */
  #begin(): boolean {
    const text = this.#buffer.trimStart()
    const { reasoning, calls } = this.#format
    if (text === '') return false
    if (reasoning && !this.#hasThought) {
      if (text.startsWith(reasoning.open)) {
        this.#buffer = text.slice(reasoning.open.length)
        this.#think()
        return true
      }
      if (reasoning.open.startsWith(text)) return false
    }
    const bare =
      calls && this.#openings.length > 0 && /^[{[]/.test(text)
        ? bareReader(calls, this.#sink)
        : undefined
    if (bare) this.#call(bare, '')
    else this.#mode = 'text'
    return true
  }

  #think(): void {
    this.#mode = 'reasoning'
    this.#isFresh = true
    this.#hasThought = true
  }

  #readReasoning(): boolean {
    if (this.#isFresh) this.#buffer = this.#buffer.trimStart()
    const close = this.#format.reasoning?.close ?? ''
    const at = this.#buffer.indexOf(close)
    if (at < 0) {
      // Spaces before the closing mark belong to it.
      const certain = this.#buffer.slice(0, heldFrom(this.#buffer, [close]))
      this.#buffer = this.#buffer.slice(certain.length)
      this.#sink.reasoning(certain)
      if (certain !== '') this.#isFresh = false
      return false
    }
    this.#sink.reasoning(this.#buffer.slice(0, at).trimEnd())
    this.#buffer = this.#buffer.slice(at + close.length)
    this.#mode = 'beginning'
    this.#isFresh = true
    return true
  }

  #readText(): boolean {
    const marks = this.#openings
    const found = marks
      .map((mark) => ({ mark, at: this.#buffer.indexOf(mark) }))
      .filter(({ at }) => at >= 0)
      .toSorted((a, b) => a.at - b.at)[0]
    if (!found) {
      const certain = this.#buffer.slice(0, heldFrom(this.#buffer, marks))
      this.#buffer = this.#buffer.slice(certain.length)
      this.#text(certain)
      return false
    }
    const { mark, at } = found
    const calls = this.#format.calls
    if (!calls) return false
    // Spaces before a mark are the format's; kept until it is certain that a call follows.
    const before = this.#buffer.slice(0, at)
    this.#text(before.trimEnd())
    const spaces = before.slice(before.trimEnd().length)
    this.#buffer = this.#buffer.slice(at + mark.length)
    this.#call(callReader(calls, this.#sink), spaces + mark)
    return true
  }

  #call(reader: CallReader, mark: string): void {
    this.#reader = reader
    this.#mark = mark
    this.#mode = 'calls'
  }

  #readCalls(): boolean {
    const text = this.#buffer
    this.#buffer = ''
    const result = this.#reader?.push(text)
    if (!result) return false
    this.#leave(result)
    return true
  }

  #leave({ isCall, rest }: { isCall: boolean; rest: string }): void {
    this.#reader = undefined
    this.#mode = 'text'
    this.#buffer = rest
    if (isCall) this.#isFresh = true
    else if (this.#mark !== '') this.#text(this.#mark)
    else {
      // The first character was looked at; another mark may follow.
      this.#text(rest.slice(0, rest.length - rest.trimStart().length + 1))
      this.#buffer = rest.trimStart().slice(1)
    }
  }

  #text(text: string): void {
    const own = this.#isFresh ? text.trimStart() : text
    if (own === '') return
    this.#isFresh = false
    this.#sink.text(own)
  }
}

/**
 * Where the last part of a text begins that may still turn out to be a mark with spaces before it;
 * the text's length when there is none.
 */
function heldFrom(text: string, marks: readonly string[]): number {
  if (marks.length === 0) return text.length
  let from = text.length
  for (const mark of marks) {
    for (let length = Math.min(mark.length - 1, text.length); length > 0; length--) {
      if (!text.endsWith(mark.slice(0, length))) continue
      from = Math.min(from, text.length - length)
      break
    }
  }
  return text.slice(0, from).trimEnd().length
}
