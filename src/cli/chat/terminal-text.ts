// What a model says, made harmless for a terminal: servers have a say in it, and an escape sequence
// could rename the window, fill the clipboard or hide what was said before.

const CONTROLS = /[^\P{Cc}\n\t]/gu

/** `text` with control characters replaced, all but newlines and tabs. Pieces may be cut anywhere. */
export function terminalText(text: string): string {
  return text.replaceAll(CONTROLS, '\uFFFD')
}
