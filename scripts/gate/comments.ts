// bun scripts/gate/comments.ts PATH...   fills comments anew where a line of them is too wide
// What comments must be: at most 100 columns wide, and files that they name must exist.
// Pure but for its command; layers.ts asks for faults.
import { scriptArguments } from '../arguments.ts'
import { basename } from 'node:path'

const WIDTH = 100
/** One line of a comment: what stands before its text, and its text. */
const LINE = /^(\s*(?:\/\/+|\/\*\*?|\*)) ?(.*)$/
/** What begins a line of its own: a tag, a list item, something indented, a separator. */
const OWN_LINE = /^(?:@|[-*] |\d+[.)] | |#|$)/
/** A command, as the heads of scripts begin. */
const COMMAND = /^(?:bun run check|(?:bun|sh|node|unshare|bash) \S*scripts)/
/** A file of this project, as comments name it: with folders or without. */
const NAMED = /(?<![\w./*<-])((?:[\w-]+\/)*[\w-]+(?:\.test)?\.(?:ts|cjs|mjs|sh|py))(?![\w*-])/g

/**
 * A sentence for each line of comment that is too wide, and each file that is named but not there.
 */
export function commentFaults(
  path: string,
  text: string,
  exists: (path: string) => boolean
): string[] {
  const faults: string[] = []
  let isInside = false
  text.split('\n').forEach((line, index) => {
    const comment = commentIn(line, isInside)
    isInside = comment.isOpen
    if (comment.text === undefined) return
    const where = `${path}:${index + 1}`
    if (line.length > WIDTH && /\s\S/.test(comment.text.trim()))
      faults.push(`${where}: a comment over ${WIDTH} columns: run bun scripts/gate/comments.ts`)
    for (const [, named = ''] of comment.text.matchAll(NAMED)) {
      if (!exists(named)) faults.push(`${where}: names '${named}', which does not exist`)
    }
  })
  return faults
}

/**
 * A sentence for each file that a text names, but which is not there. `NAME` stands for any name.
 */
export function nameFaults(
  path: string,
  text: string,
  exists: (path: string) => boolean
): string[] {
  return text.split('\n').flatMap((line, index) =>
    [...line.matchAll(NAMED)]
      .map(([, named = '']) => named)
      .filter((named) => !named.includes('NAME') && !exists(named))
      .map((named) => `${path}:${index + 1}: names '${named}', which does not exist`)
  )
}

/** Whether a file of that name, with as many folders as are named, is among `paths`. */
export function knownFiles(paths: Iterable<string>): (named: string) => boolean {
  const byName = new Map<string, string[]>()
  for (const path of paths) {
    const name = basename(path)
    byName.set(name, [...(byName.get(name) ?? []), path])
  }
  return (named) =>
    (byName.get(basename(named)) ?? []).some((path) => `/${path}`.endsWith(`/${named}`))
}

/** The comment of one line; strings that look like one are none. */
function commentIn(line: string, isInside: boolean): { text: string | undefined; isOpen: boolean } {
  if (isInside) return { text: line.replace(/\*\/.*$/, ''), isOpen: !line.includes('*/') }
  const code =
    /^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`|\/(?![/*])|[^'"`/])*/.exec(line)
  const rest = line.slice(code?.[0].length ?? 0)
  if (rest.startsWith('//')) return { text: rest.slice(2), isOpen: false }
  if (!rest.startsWith('/*')) return { text: undefined, isOpen: false }
  const end = rest.indexOf('*/', 2)
  return end < 0
    ? { text: rest.slice(2), isOpen: true }
    : { text: rest.slice(2, end), isOpen: false }
}

/** The text with paragraphs of comments filled anew where one of their lines is too wide. */
export function wrapComments(text: string): string {
  const lines = text.split('\n').flatMap(openWide)
  const out: string[] = []
  for (let at = 0; at < lines.length;) {
    const paragraph = paragraphAt(lines, at)
    const isWide = isText(paragraph[0]) && paragraph.some((line) => line.length > WIDTH)
    out.push(...(isWide ? fill(paragraph) : paragraph))
    at += paragraph.length
  }
  return out.join('\n')
}

/** A block comment of one line that is too wide becomes one of three. */
function openWide(line: string): string[] {
  const match = /^(\s*)\/\*\* (.*) \*\/$/.exec(line)
  if (!match || line.length <= WIDTH) return [line]
  const [, indent = '', text = ''] = match
  return [`${indent}/**`, `${indent} * ${text}`, `${indent} */`]
}

/** The lines from `at` on that are one paragraph of a comment; one line when it is code. */
function paragraphAt(lines: readonly string[], at: number): string[] {
  const first = lines[at] ?? ''
  const [, prefix] = LINE.exec(first) ?? []
  if (!isText(first)) return [first]
  const paragraph = [first]
  for (let next = at + 1; next < lines.length; next++) {
    const line = lines[next] ?? ''
    const [, same, more = ''] = LINE.exec(line) ?? []
    if (same !== prefix || OWN_LINE.test(more) || more === '/' || more.endsWith('*/')) break
    paragraph.push(line)
  }
  return paragraph
}

/** A line of a comment that may be filled anew: nothing set out by hand, no opening or closing. */
function isText(line = ''): boolean {
  const [, prefix = '', text = ''] = LINE.exec(line) ?? []
  return (
    !['', '/*', '/**'].includes(prefix.trim()) &&
    text !== '' &&
    !/^(?: |\/|#)/.test(text) &&
    !COMMAND.test(text)
  )
}

function fill(paragraph: readonly string[]): string[] {
  const parts = paragraph.map((line) => LINE.exec(line))
  const prefix = parts[0]?.[1] ?? ''
  const words = parts.flatMap((part) => (part?.[2] ?? '').split(/\s+/)).filter(Boolean)
  const lines: string[] = []
  let line = prefix
  for (const word of words) {
    const isFull = line.length + 1 + word.length > WIDTH || word.startsWith('@')
    if (isFull && line !== prefix) {
      lines.push(line)
      line = prefix
    }
    line += ` ${word}`
  }
  return [...lines, line]
}

if (import.meta.main) {
  const { positionals } = scriptArguments(import.meta.path, { allowPositionals: true })
  for (const path of positionals) {
    const text = await Bun.file(path).text()
    const wrapped = wrapComments(text)
    if (wrapped !== text) await Bun.write(path, wrapped)
  }
}
