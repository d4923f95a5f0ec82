// Takes an answer apart by a model's own response template: fields between marks, and one field for
// what lies between all others. A call is told when its field has ended.
import { callsOf, parseContent, transformed } from './content-parsers.ts'
import type { Deltas } from './deltas.ts'
import type { Anchor, ReplyDelta, ReplyParser, ResponseField, ResponseTemplate } from './types.ts'

/** How far a pattern may reach from its first letters on. */
const MAX_REACH = 256
const REASONING: ReadonlySet<string> = new Set(['reasoning_content', 'reasoning', 'thinking'])

interface Match {
  readonly field: ResponseField
  readonly isOpen: boolean
  readonly start: number
  readonly end: number
  readonly groups: Readonly<Record<string, string>>
}

export class TemplateParser implements ReplyParser {
  readonly #fields: readonly ResponseField[]
  readonly #between: ResponseField | undefined
  readonly #sink: Deltas
  #field: ResponseField | undefined
  #buffer = ''
  /** Of a field that is told when it ends: what opened it, and all it holds. */
  #opening = ''
  #body = ''
  #groups: Record<string, string> = {}
  #isFresh = true

  /** `prompt` is the end of what the model was given, where a field may have been opened. */
  constructor(template: ResponseTemplate, sink: Deltas, prompt: string) {
    this.#fields = template.fields
    this.#between = template.fields.find(({ open }) => open === undefined)
    this.#field = this.#between
    this.#sink = sink
    const opened = template.fields.find(({ open }) =>
      open?.literals.some((text) => !open.pattern && prompt.trimEnd().endsWith(text.trimEnd()))
    )
    if (opened) this.#enter(opened, '')
  }

  get isThinking(): boolean {
    return this.#field !== undefined && REASONING.has(this.#field.name)
  }

  push(text: string): ReplyDelta[] {
    this.#buffer += text
    this.#read(false)
    return this.#sink.take()
  }

  end(): ReplyDelta[] {
    this.#read(true)
    this.#tell(this.#buffer)
    this.#buffer = ''
    this.#leave('')
    return this.#sink.take()
  }

  #read(isEnd: boolean): void {
    for (;;) {
      const { match, held } = this.#next(isEnd)
      if (!match) {
        this.#tell(this.#buffer.slice(0, held))
        this.#buffer = this.#buffer.slice(held)
        return
      }
      this.#tell(this.#buffer.slice(0, match.start))
      const mark = this.#buffer.slice(match.start, match.end)
      this.#buffer = this.#buffer.slice(match.end)
      Object.assign(this.#groups, match.groups)
      if (match.isOpen) {
        this.#leave('')
        this.#enter(match.field, mark)
        Object.assign(this.#groups, match.groups)
      } else this.#leave(mark)
      if (match.start === match.end) return
    }
  }

  /** The first mark that is certain, or how much of the buffer cannot be one. */
  #next(isEnd: boolean): { match: Match | undefined; held: number } {
    let held = this.#buffer.length
    let best: Match | undefined
    const isBetween = this.#field === this.#between
    const watched = isBetween ? this.#fields.filter(({ open }) => open) : []
    const anchors: [ResponseField, Anchor | undefined, boolean][] = watched.map((field) => [
      field,
      field.open,
      true
    ])
    if (this.#field) anchors.push([this.#field, this.#field.close, false])
    for (const [field, anchor, isOpen] of anchors) {
      if (!anchor) continue
      const found = find(anchor, this.#buffer, isEnd)
      held = Math.min(held, found.held)
      if (!found.match) continue
      const match = { field, isOpen, ...found.match }
      const isEarlier =
        !best || match.start < best.start || (match.start === best.start && match.end > best.end)
      if (isEarlier) best = match
    }
    return best && best.start < held ? { match: best, held } : { match: undefined, held }
  }

  #enter(field: ResponseField, opening: string): void {
    this.#field = field
    this.#opening = opening
    this.#body = ''
    this.#groups = {}
    this.#isFresh = true
  }

  /** Text of the field that is open. */
  #tell(text: string): void {
    const field = this.#field
    if (!field || text === '') return
    if (field.content !== 'text' || field.name === 'tool_calls') {
      this.#body += text
      return
    }
    // Spaces around a part belong to the format.
    const all = this.#body + (this.#isFresh && this.#body === '' ? text.trimStart() : text)
    const certain = all.trimEnd()
    this.#body = all.slice(certain.length)
    if (certain === '') return
    this.#isFresh = false
    if (REASONING.has(field.name)) this.#sink.reasoning(certain)
    else this.#sink.text(certain)
  }

  #leave(mark: string): void {
    const field = this.#field
    if (field && (field.content !== 'text' || field.name === 'tool_calls')) {
      this.#finish(field, mark)
    }
    if (this.#between) this.#enter(this.#between, '')
    else this.#field = undefined
  }

  #finish(field: ResponseField, mark: string): void {
    const raw = this.#opening + this.#body + mark
    if (field.name !== 'tool_calls' || this.#sink.tools.size === 0) {
      this.#sink.text(raw)
      return
    }
    try {
      for (const { name, values } of callsOf(this.#valueOf(field), this.#sink.tools)) {
        this.#sink.start(name)
        this.#sink.arguments(JSON.stringify(values))
        this.#sink.end()
      }
    } catch {
      this.#sink.text(raw)
    }
  }

  #valueOf({ content, args, transform, transformEach }: ResponseField): unknown {
    const value = parseContent(this.#body, content, args)
    if (transform === undefined) return value
    if (!transformEach) return transformed(transform, { ...this.#groups, content: value })
    const items = value as readonly object[]
    return items.map((item) => transformed(transform, { ...this.#groups, ...item }))
  }
}

/** The first match that more text cannot change, and from where on nothing is certain. */
function find(
  { literals, pattern }: Anchor,
  text: string,
  isEnd: boolean
): { match?: Pick<Match, 'start' | 'end' | 'groups'>; held: number } {
  if (!pattern) {
    const found = literals
      .map((mark) => ({ start: text.indexOf(mark), end: text.indexOf(mark) + mark.length }))
      .filter(({ start }) => start >= 0)
      .toSorted((a, b) => a.start - b.start || b.end - a.end)[0]
    const held = isEnd ? text.length : partOf(text, literals)
    return found ? { match: { ...found, groups: {} }, held } : { held }
  }
  for (const at of placesOf(text, literals)) {
    // Spaces before it may belong to the match.
    const before = text.slice(Math.max(0, at - MAX_REACH), at)
    const spaces = before.length - before.trimEnd().length
    const reach = text.slice(at - spaces, at + MAX_REACH)
    for (const start of spaces > 0 ? [0, spaces] : [0]) {
      pattern.lastIndex = start
      const found = pattern.exec(reach)
      if (found?.index !== start) continue
      const from = at - spaces + start
      const end = from + found[0].length
      if (!isEnd && end === text.length) return { held: from }
      const groups = { ...found.groups }
      return { match: { start: from, end, groups }, held: text.length }
    }
    if (!isEnd && text.length - at < MAX_REACH) return { held: at - spaces }
  }
  const held = isEnd ? text.length : partOf(text, literals)
  return { held: isEnd ? held : text.slice(0, held).trimEnd().length }
}

/** Where any of the marks stands, in order. */
function placesOf(text: string, marks: readonly string[]): number[] {
  const places = marks.flatMap((mark) => {
    const found: number[] = []
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) found.push(at)
    return found
  })
  return places.toSorted((a, b) => a - b)
}

/** Where the text's last letters begin that may become one of the marks. */
function partOf(text: string, marks: readonly string[]): number {
  let from = text.length
  for (const mark of marks) {
    for (let length = Math.min(mark.length - 1, text.length); length > 0; length--) {
      if (!text.endsWith(mark.slice(0, length))) continue
      from = Math.min(from, text.length - length)
      break
    }
  }
  return from
}
