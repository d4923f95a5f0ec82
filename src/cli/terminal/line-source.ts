// Where a conversation's lines come from: a terminal in raw mode (terminal-lines.ts), or plain
// lines if it is no terminal or cannot move its cursor (plain-lines.ts).

export type Read =
  | {
      readonly kind: 'line'
      readonly text: string
      /** Several lines were pasted, so nothing in them is a command. */
      readonly isPasted: boolean
    }
  /** Ctrl-C with nothing typed. */
  | { readonly kind: 'interrupt' }
  /** Ctrl-D, or the end of input. */
  | { readonly kind: 'end' }

export interface LineSource {
  /**
   * The next line; text that was typed before is not lost. @throws AppError CANCELLED when the
   * signal fires
   */
  read(signal: AbortSignal): Promise<Read>
  /** Shows whole lines above what is being typed; false while nobody reads. */
  above(text: string): boolean
  /** Called for Ctrl-C while nobody reads; if undefined, it is kept for the next read. */
  onstop: (() => void) | undefined
  /** Restores the terminal. */
  close(): void
}

/** Starts and ends a text of several lines. */
const QUOTES = '"""'

/** Whether a text continues in the next line: after a backslash, or within quotes. */
export function goesOn(text: string): boolean {
  return text.startsWith(QUOTES)
    ? !text.slice(QUOTES.length).trimEnd().endsWith(QUOTES)
    : text.endsWith('\\')
}

/** The text without its quotes, and without backslashes at line ends. */
export function plainText(text: string): string {
  if (text.startsWith(QUOTES) && !goesOn(text)) {
    return text
      .trimEnd()
      .slice(QUOTES.length, -QUOTES.length)
      .replace(/^\n|\n$/g, '')
  }
  return text.replaceAll('\\\n', '\n')
}
