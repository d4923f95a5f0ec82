// What the parts of an answer hold, by the names that a model's own response template gives:
// transformers' text, int, float, bool, json, xml-inline, kv-lines and python-call-list. Knows no
// marks; template-parser.ts cuts an answer into parts.
import { parseCallList } from './python-calls.ts'
import type { ReplyTool } from './types.ts'
import { typedValue } from './xml-call.ts'

type Fields = Readonly<Record<string, unknown>>

/** What stands before a key, between it and its value, and behind that. */
export interface TagShape {
  readonly open: string
  readonly middle: string
  readonly close: string
}

const MAX_DEPTH = 4

export const CONTENTS: ReadonlySet<string> = new Set([
  'text',
  'int',
  'float',
  'bool',
  'json',
  'xml-inline',
  'kv-lines',
  'python-call-list'
])

/** @throws Error when the text is none of that kind */
export function parseContent(text: string, kind: string, args: Fields, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw new Error('Values are nested too deep')
  const plain = args['strip'] === false ? text : text.trim()
  switch (kind) {
    case 'text':
      return plain
    case 'int':
    case 'float': {
      const value = Number(plain)
      if (plain === '' || !Number.isFinite(value)) throw new Error('No number')
      return kind === 'int' ? Math.trunc(value) : value
    }
    case 'bool':
      return ['true', '1'].includes(plain.toLowerCase())
    case 'json':
      return laxJson(text, plain, args)
    case 'xml-inline':
      return taggedValues(text, args, depth)
    case 'kv-lines':
      return lineValues(text, args, depth)
    case 'python-call-list': {
      const calls = parseCallList(text)
      if (!calls) throw new Error('No list of calls')
      return calls.map(({ name, values }) => ({ name, arguments: values }))
    }
    default:
      throw new Error(`No such kind of content: '${kind}'`)
  }
}

/** JSON whose texts may have marks of their own and whose names may have none. */
function laxJson(text: string, plain: string, args: Fields): unknown {
  const { string_delims: delims, unquoted_keys: isUnquoted } = args
  const texts: string[] = []
  let work = text
  for (const pair of Array.isArray(delims) ? (delims as unknown[]) : []) {
    const [open, close] = Array.isArray(pair) ? (pair as unknown[]) : []
    if (typeof open === 'string' && typeof close === 'string')
      work = takeTexts(work, open, close, texts)
  }
  if (isUnquoted === true) {
    work = work.replaceAll(
      /"(?:\\.|[^"\\])*"|([{,]\s*)([\p{L}\p{N}_]+)(\s*):/gu,
      (whole, before?: string, key?: string, after?: string) =>
        key === undefined ? whole : `${before}"${key}"${after}:`
    )
  }
  work = work.replaceAll(/\ue000(\d+)\ue001/g, (_, at: string) => JSON.stringify(texts[Number(at)]))
  try {
    return JSON.parse(work)
  } catch (error) {
    if (args['allow_non_json'] === true) return plain
    throw error
  }
}

function takeTexts(text: string, open: string, close: string, texts: string[]): string {
  if (open === '' || close === '') return text
  let made = ''
  let at = 0
  for (;;) {
    const start = text.indexOf(open, at)
    const end = start < 0 ? -1 : text.indexOf(close, start + open.length)
    if (end < 0) return made + text.slice(at)
    made += `${text.slice(at, start)}\ue000${texts.length}\ue001`
    texts.push(text.slice(start + open.length, end))
    at = end + close.length
  }
}

function taggedValues(text: string, args: Fields, depth: number): Record<string, unknown> {
  const { open, middle, close } = args['tag_pattern'] as TagShape
  const found: [string, unknown][] = []
  for (let at = text.indexOf(open); at >= 0; at = text.indexOf(open, at)) {
    const key = at + open.length
    const value = text.indexOf(middle, key)
    const end = value < 0 ? -1 : text.indexOf(close, value + middle.length)
    if (end < 0) break
    const raw = text.slice(value + middle.length, end).trim()
    found.push([text.slice(key, value), valueOf(raw, args, depth)])
    at = end + close.length
  }
  if (args['merge_duplicates'] !== true) return Object.fromEntries(found)
  const merged = Object.groupBy(found, ([key]) => key)
  return Object.fromEntries(
    Object.entries(merged).map(([key, list = []]) => {
      const values = list.map(([, value]) => value)
      return [key, values.length === 1 ? values[0] : values]
    })
  )
}

function lineValues(text: string, args: Fields, depth: number): Record<string, unknown> {
  const between = typeof args['kv_sep'] === 'string' ? args['kv_sep'] : ':'
  const lines = text.split(typeof args['line_sep'] === 'string' ? args['line_sep'] : '\n')
  const pairs = lines.flatMap((line): [string, unknown][] => {
    const at = line.indexOf(between)
    if (at < 0) return []
    const value = line.slice(at + between.length).trim()
    return [[line.slice(0, at).trim(), valueOf(value, args, depth)]]
  })
  return Object.fromEntries(pairs)
}

function valueOf(text: string, args: Fields, depth: number): unknown {
  const parser = args['value_parser']
  if (typeof parser !== 'object' || parser === null) return text
  const { name, args: own } = parser as { name?: unknown; args?: unknown }
  const fields = typeof own === 'object' && own !== null ? (own as Fields) : {}
  return parseContent(text, typeof name === 'string' ? name : 'text', fields, depth + 1)
}

const PLACEHOLDER = /^\{(\w+(?:\.\w+)*)\}$/

/** `transform` with each `{name}` and `{name.part}` replaced. @throws Error for an unknown name */
export function transformed(transform: unknown, scope: Fields): unknown {
  if (Array.isArray(transform)) return transform.map((each: unknown) => transformed(each, scope))
  if (typeof transform === 'object' && transform !== null) {
    const entries = Object.entries(transform)
    return Object.fromEntries(entries.map(([key, value]) => [key, transformed(value, scope)]))
  }
  const path = typeof transform === 'string' ? PLACEHOLDER.exec(transform)?.[1] : undefined
  if (path === undefined) return transform
  let value: unknown = scope
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      throw new Error(`There is no '${path}'`)
    }
    value = (value as Fields)[key]
  }
  return value
}

export interface FoundCall {
  readonly name: string
  readonly values: unknown
}

/** The calls that a value stands for, with texts as the tool's schema wants them. */
export function callsOf(value: unknown, tools: ReadonlyMap<string, ReplyTool>): FoundCall[] {
  if (Array.isArray(value)) return value.flatMap((each: unknown) => callsOf(each, tools))
  if (typeof value !== 'object' || value === null) throw new Error('No call')
  const within = (value as Fields)['function'] ?? value
  const { name, arguments: given } = within as { name?: unknown; arguments?: unknown }
  if (typeof name !== 'string') throw new Error('A call without a name')
  const known = tools.get(name)?.parameters?.['properties']
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    return [{ name, values: typeof given === 'string' ? JSON.parse(given) : {} }]
  }
  const properties = typeof known === 'object' && known !== null ? (known as Fields) : {}
  const entries = Object.entries(given).map(([key, item]: [string, unknown]) => [
    key,
    typeof item === 'string' ? typedValue(item, properties[key]) : item
  ])
  return [{ name, values: Object.fromEntries(entries) }]
}
