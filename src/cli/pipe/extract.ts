// The code that an answer holds, for programs that want nothing else of it.

const OPENS = /^ {0,3}(`{3,}|~{3,})([^`]*)$/

/**
 * The text of the first fenced block of a Markdown text, which may be cut off; undefined: it has
 * none.
 */
export function codeOf(text: string): string | undefined {
  const lines = text.split(/\r?\n/)
  const at = lines.findIndex((line) => OPENS.test(line))
  const fence = OPENS.exec(lines[at] ?? '')?.[1]
  if (fence === undefined) return undefined
  const behind = lines.slice(at + 1)
  const end = behind.findIndex((line) => closes(line, fence))
  // A block that the answer's end cut off has no newline behind its last line.
  return end < 0
    ? behind.join('\n')
    : behind
        .slice(0, end)
        .map((line) => `${line}\n`)
        .join('')
}

/** As many of the same marks as opened it, or more. */
function closes(line: string, fence: string): boolean {
  const marks = line.trim()
  return (
    /^ {0,3}\S/.test(line) &&
    marks.length >= fence.length &&
    [...marks].every((mark) => mark === fence[0])
  )
}
