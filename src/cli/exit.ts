// Exit codes, and how errors are shown on stderr.
import { AppError, toAppError, type ErrorCode } from '../base/errors.ts'
import { folderError } from '../base/files/file-error.ts'
import { terminalText } from '../base/terminal-text.ts'

/** Documented in the README and in `petals --help`. */
export const EXIT = {
  ok: 0,
  internal: 1,
  usage: 2,
  notFound: 3,
  corrupt: 4,
  noRoute: 5,
  unavailable: 6,
  resources: 7,
  denied: 8,
  /** Only with --strict. */
  cut: 9,
  interrupted: 130,
  brokenPipe: 141
} as const

/** What each code means. */
export const EXITS: readonly (readonly [string, string])[] = [
  ['0', 'done'],
  ['1', 'a fault of ours'],
  ['2', 'wrong usage'],
  ['3', 'no such model or file'],
  ['4', 'damaged file or bytes'],
  ['130', 'Ctrl-C'],
  ['5', 'nobody serves some blocks'],
  ['6', 'a peer, hub, device or network failed'],
  ['7', 'no memory, port in use'],
  ['8', 'not permitted, or a folder is read-only'],
  ['9', 'with --strict: the answer was cut'],
  ['141', 'the reader of stdout went away']
]

/** In two columns. */
export const EXIT_HELP: string = [
  'Exit codes:',
  ...EXITS.slice(0, EXITS.length / 2).map((left, i) => {
    const [one, other] = [left, EXITS[i + EXITS.length / 2] ?? ['', '']]
    return `  ${one.join(' ').padEnd(26)}  ${other.join(' ')}`
  })
].join('\n')

/** The exit code for an error's code. */
export function exitCode(code: ErrorCode): number {
  switch (code) {
    case 'BAD_INPUT':
    case 'UNSUPPORTED':
    case 'LIMIT':
      return EXIT.usage
    case 'NOT_FOUND':
      return EXIT.notFound
    case 'CORRUPT':
      return EXIT.corrupt
    case 'NO_ROUTE':
      return EXIT.noRoute
    case 'UNAVAILABLE':
    case 'TIMEOUT':
    case 'DISCONNECTED':
    case 'CLOSED':
    case 'BUSY':
    case 'PROTOCOL':
    case 'COMPUTE':
      return EXIT.unavailable
    case 'NO_MEMORY':
    case 'IN_USE':
      return EXIT.resources
    case 'DENIED':
      return EXIT.denied
    case 'CANCELLED':
      return EXIT.interrupted
    case 'INTERNAL':
      return EXIT.internal
    default:
      throw new TypeError(`No exit code for '${String(code)}'`)
  }
}

const DISK: ReadonlySet<string> = new Set([
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOTDIR',
  'ENOSPC',
  'EDQUOT'
])

/**
 * Turns what was thrown into an AppError. A file that the system refuses is for the user to fix,
 * not our fault.
 */
export function errorOf(thrown: unknown): AppError {
  const error = toAppError(thrown)
  if (error.code !== 'INTERNAL' || !(error.cause instanceof Error)) return error
  const { code = '', path, syscall } = error.cause as NodeJS.ErrnoException
  const isDisk = DISK.has(code) || (code === 'ENOENT' && syscall === 'mkdir')
  if (path === undefined || !isDisk) return error
  return folderError(`'${path}' cannot be used`, error.cause, {
    hint: 'Set PETALS_HOME to a folder that can be written'
  })
}

export interface ErrorTextOptions {
  /** Also show the stack of errors that are not our fault. */
  debug?: boolean
  /** The model as typed, for hints that say MODEL. */
  model?: string | undefined
}

/** What is done for a model; hints of what it throws name that as it was typed. */
export async function naming<T>(model: string, what: () => Promise<T>): Promise<T> {
  try {
    return await what()
  } catch (thrown) {
    const { code, message, hint, retryable, retryAfterMs, cause } = errorOf(thrown)
    throw new AppError(code, message, {
      ...(hint === undefined ? {} : { hint: withModel(hint, model) }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      retryable,
      cause: cause ?? thrown
    })
  }
}

/**
 * `error: ...` and a line on what to do. Messages quote files, hubs and peers, so everything is
 * made harmless for a terminal here.
 */
export function errorText(error: AppError, options: ErrorTextOptions = {}): string {
  const { debug = false, model } = options
  const lines = [`error: ${error.message}`]
  if (error.hint) lines.push(`  ${withModel(error.hint, model)}`)
  if (debug || error.code === 'INTERNAL') {
    const cause = error.cause instanceof Error ? error.cause : error
    if (cause.stack) lines.push(cause.stack)
  }
  return terminalText(`${lines.join('\n')}\n`)
}

/**
 * Commands in a hint name the model that was typed, so that they can be copied. One that makes room
 * means another model.
 */
export function withModel(text: string, model: string | undefined): string {
  if (model === undefined) return text
  const word = /^[\w./@:+-]+$/.test(model) ? model : `'${model}'`
  return text.replaceAll(/(?<=petals (?!rm )[a-z]+ )MODEL\b/g, () => word)
}
