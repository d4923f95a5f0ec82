// Commands within a conversation: lines that start with a slash and a word. Knows no chat.
import { lookUp } from '../../base/look-up.ts'
import { nearest } from '../nearest.ts'

export interface SlashCommand {
  readonly name: string
  /** As shown in the help. */
  readonly argument: string
  readonly help: string
}

export const SLASH_COMMANDS: readonly SlashCommand[] = [
  { name: 'new', argument: '', help: 'forget the conversation' },
  { name: 'retry', argument: '', help: 'ask the last question again' },
  { name: 'undo', argument: '', help: 'take back the last question and its answer' },
  { name: 'continue', argument: '', help: 'go on with an answer that was stopped' },
  { name: 'system', argument: '[TEXT]', help: 'show or change the instructions' },
  { name: 'set', argument: '[NAME VALUE]', help: 'show or change how answers are made' },
  {
    name: 'show',
    argument: '',
    help: 'the model, its servers, and how much of the context is used'
  },
  { name: 'save', argument: 'FILE', help: 'keep the conversation in a file' },
  { name: 'load', argument: 'FILE', help: 'go on with one' },
  { name: 'model', argument: 'MODEL', help: 'go on with another model' },
  { name: 'copy', argument: '', help: 'the last answer to the clipboard' },
  { name: 'help', argument: '', help: 'this list' },
  { name: 'bye', argument: '', help: 'leave' }
]

const OTHER_NAMES: Readonly<Record<string, string>> = {
  '?': 'help',
  h: 'help',
  clear: 'new',
  reset: 'new',
  exit: 'bye',
  quit: 'bye',
  q: 'bye'
}

export type Slash =
  | { readonly kind: 'command'; readonly name: string; readonly argument: string }
  | { readonly kind: 'unknown'; readonly name: string; readonly near: string | undefined }

/**
 * The command in a line; undefined for a question. A path (/etc/hosts) and a line that starts with
 * a space are questions.
 */
export function parseSlash(line: string): Slash | undefined {
  const match = /^\/([a-z?]+)(?:\s+([^]*))?$/i.exec(line.trimEnd())
  if (!match) return undefined
  const [, typed = '', argument = ''] = match
  const lower = typed.toLowerCase()
  const name = lookUp(OTHER_NAMES, lower) ?? lower
  const names = SLASH_COMMANDS.map((command) => command.name)
  if (names.includes(name)) return { kind: 'command', name, argument: argument.trim() }
  return { kind: 'unknown', name: typed, near: nearest(lower, names) }
}

/** For the tab key. */
export function completeSlash(beginning: string): string[] {
  if (!/^\/[a-z]*$/.test(beginning)) return []
  return SLASH_COMMANDS.map(({ name }) => `/${name}`).filter((word) => word.startsWith(beginning))
}

export function slashHelp(): string {
  const rows = SLASH_COMMANDS.map(
    ({ name, argument, help }) => [`/${name} ${argument}`.trimEnd(), help] as const
  )
  const width = Math.max(...rows.map(([word]) => word.length))
  const lines = rows.map(([word, help]) => `  ${word.padEnd(width)}  ${help}`)
  return [
    ...lines,
    '  """ before and behind a question of several lines; or \\ at a line\'s end, Alt-Enter',
    '  Ctrl-C clears the line, stops an answer, and leaves when pressed twice',
    '  Ctrl-D leaves',
    ''
  ].join('\n')
}
