// A model's own description of its answers, `response_template` of its tokenizer_config.json, as
// transformers reads it. It came with a file: a pattern that could take long, or a field that is
// not known, makes it none, and the family's format is used.
import { isHarmlessPattern } from '../../../model/text/bounded-pattern.ts'
import { CONTENTS, type TagShape } from './content-parsers.ts'
import type { Anchor, ResponseField, ResponseTemplate } from './types.ts'

type Fields = Readonly<Record<string, unknown>>

const MAX_FIELDS = 32

/** Undefined for a description that cannot be used. */
export function readResponseTemplate(spec: unknown): ResponseTemplate | undefined {
  if (!isObject(spec) || (spec['version'] ?? 1) !== 1 || !isObject(spec['fields'])) return undefined
  const given = Object.entries(spec['fields'])
  if (given.length === 0 || given.length > MAX_FIELDS) return undefined
  const fields = given.map(([name, field]) =>
    isObject(field) ? readField(name, field) : undefined
  )
  const known = fields.filter((field) => field !== undefined)
  const implicit = known.filter(({ open }) => open === undefined)
  return known.length === fields.length && implicit.length <= 1 ? { fields: known } : undefined
}

function readField(name: string, field: Fields): ResponseField | undefined {
  const open = readAnchor(field['open'], field['open_pattern'])
  const close = readAnchor(field['close'], field['close_pattern'])
  const content = field['content'] ?? 'text'
  const args = readArgs(field['content_args'])
  if (open === null || close === null || args === undefined) return undefined
  if (typeof content !== 'string' || !CONTENTS.has(content)) return undefined
  return {
    name,
    ...(open && { open }),
    ...(close && { close }),
    content,
    args,
    transform: field['transform'],
    transformEach: field['transform_each'] === true
  }
}

/** Undefined when there is none, null when it cannot be used. */
function readAnchor(literal: unknown, pattern: unknown): Anchor | undefined | null {
  if (literal !== undefined) {
    const literals: unknown[] = Array.isArray(literal) ? literal : [literal]
    const isGood = literals.every((each) => typeof each === 'string' && each !== '')
    return isGood && literals.length > 0 ? { literals: literals as string[] } : null
  }
  if (pattern === undefined) return undefined
  const compiled = typeof pattern === 'string' ? compile(pattern) : undefined
  const literals = typeof pattern === 'string' ? beginnings(pattern) : []
  return compiled && literals.length > 0 ? { literals, pattern: compiled } : null
}

function readArgs(given: unknown): Fields | undefined {
  if (given === undefined) return {}
  if (!isObject(given)) return undefined
  const pattern = given['tag_pattern']
  if (pattern === undefined) return given
  const shape = typeof pattern === 'string' ? tagShape(pattern) : undefined
  return shape && { ...given, tag_pattern: shape }
}

/**
 * Values between tags: a literal, the key, a literal, the value, a literal; spaces may stand around
 * the value.
 */
function tagShape(pattern: string): TagShape | undefined {
  const key = /\(\?P?<key>(?:\[\^[^\]]*\]|\\w)\+\??\)/
  const value = /(?:\\s\*)?\(\?P?<value>\.\*\?\)(?:\\s\*)?/
  const [open, behind, ...more] = pattern.split(key)
  const [middle, close, ...rest] = (behind ?? '').split(value)
  if (more.length > 0 || rest.length > 0) return undefined
  const shape = { open: open ?? '', middle: middle ?? '', close: close ?? '' }
  const literals = Object.entries(shape).map(([name, text]) => [name, literalOf(text)])
  const isLiteral = Object.values(shape).every((text) => text !== '' && isAllLiteral(text))
  return isLiteral ? (Object.fromEntries(literals) as unknown as TagShape) : undefined
}

function isAllLiteral(pattern: string): boolean {
  return /^(?:[^()[\]{}.^$|*+?\\]|\\[^\w]|\\n)*$/.test(pattern)
}

function compile(pattern: string): RegExp | undefined {
  const plain = pattern.replaceAll(/\(\?P?<\w+>/g, '(')
  if (!isHarmlessPattern(plain)) return undefined
  try {
    return new RegExp(pattern.replaceAll('(?P<', '(?<'), 'gsu')
  } catch {
    return undefined
  }
}

/** The texts that a match begins with, spaces before them aside; none where that cannot be told. */
function beginnings(pattern: string): string[] {
  const behind = pattern.replace(/^\\s\*/, '')
  const group = /^\(\?:([^()[\]*+?{}]*)\)(?![*?{])/.exec(behind)
  const choices = group ? (group[1] ?? '').split(/(?<!\\)\|/) : [behind]
  const texts = choices.map(literalOf)
  return texts.every((text) => text !== '') ? texts : []
}

/** The letters that a pattern begins with. */
function literalOf(pattern: string): string {
  let text = ''
  for (let at = 0; at < pattern.length; at++) {
    let char = pattern[at] ?? ''
    if (/[()[\]{}.^$|*+?]/.test(char)) break
    if (char === '\\') {
      char = pattern[++at] ?? ''
      if (char === 'n') char = '\n'
      else if (/\w/.test(char)) break
    }
    // What may be left out is no beginning.
    if (/[*?{]/.test(pattern[at + 1] ?? '')) break
    text += char
  }
  return text
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
