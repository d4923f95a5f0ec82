// Where a conversation's lines come from: a terminal in raw mode (terminal-lines.ts), or lines as
// they come, for what is no terminal or cannot move its cursor (plain-lines.ts).

export type Read =
  | {
      readonly kind: 'line'
      readonly text: string
      /** Several lines were pasted: what looks like a command in them is none. */
      readonly isPasted: boolean
    }
  /** Ctrl-C with nothing typed. */
  | { readonly kind: 'interrupt' }
  /** Ctrl-D, or the end of input. */
  | { readonly kind: 'end' }

export interface LineSource {
  /** The next line; what was typed before is not lost. @throws AppError CANCELLED at the signal */
  read(signal: AbortSignal): Promise<Read>
  /** Called for Ctrl-C while nobody reads; undefined: it is kept for the next read. */
  onstop: (() => void) | undefined
  /** Gives the terminal back as it was. */
  close(): void
}

/** What begins and ends a text of several lines. */
const QUOTES = '"""'

/** Whether a text goes on in the next line: after a backslash, or within quotes. */
export function goesOn(text: string): boolean {
  return text.startsWith(QUOTES)
    ? !text.slice(QUOTES.length).trimEnd().endsWith(QUOTES)
    : text.endsWith('\\')
}

/** A text as it is meant: without its quotes, and without backslashes at line ends. */
export function plainText(text: string): string {
  if (text.startsWith(QUOTES) && !goesOn(text)) {
    return text
      .trimEnd()
      .slice(QUOTES.length, -QUOTES.length)
      .replace(/^\n|\n$/g, '')
  }
  return text.replaceAll('\\\n', '\n')
}
