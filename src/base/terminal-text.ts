// Makes text of others harmless for a terminal: an escape sequence could rename the window, fill
// the clipboard or hide what was said before; a bidirectional control could show a line in another
// order than it has.

/**
 * Control characters but newline and tab; embeddings, overrides and isolates of the bidirectional
 * algorithm.
 */
const HARMFUL = /[^\P{Cc}\n\t]|[\u202A-\u202E\u2066-\u2069]/gu

/** `text` with harmful characters replaced. It may be cut into pieces anywhere. */
export function terminalText(text: string): string {
  return text.replaceAll(HARMFUL, '\uFFFD')
}
