// What a prompt is made of: words of the command line, and a pipe on stdin.
import { badInput } from '../../base/errors.ts'

// A prompt of more than this is no prompt; the context of any model here is far smaller.
const MAX_STDIN_BYTES = 64 * 1024 * 1024

export interface PromptParts {
  /** From the command line; undefined when none was given. */
  words: string | undefined
  /** From a pipe or file; undefined on a terminal. */
  piped: string | undefined
}

/** Reads stdin to its end when it is no terminal. @throws AppError BAD_INPUT */
export async function readPiped(
  stdin: { isTTY?: boolean } & AsyncIterable<Uint8Array | string>
): Promise<string | undefined> {
  if (stdin.isTTY) return undefined
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let sizeBytes = 0
  try {
    for await (const chunk of stdin) {
      const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk
      sizeBytes += bytes.byteLength
      if (sizeBytes > MAX_STDIN_BYTES) {
        throw badInput('The text on stdin is too long: over 64 MiB')
      }
      text += decoder.decode(bytes, { stream: true })
    }
    return text + decoder.decode()
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw badInput('The text on stdin cannot be read: it is not UTF-8', {
      hint: 'Convert it first, e.g. with iconv'
    })
  }
}

/**
 * One prompt of both parts: the words first, then the piped text. The newline that echo and editors
 * put at the end of a pipe is not part of the text.
 */
export function joinPrompt(parts: PromptParts): string | undefined {
  const piped = parts.piped?.replace(/\r?\n$/, '')
  if (parts.words === undefined) return piped
  if (!piped) return parts.words
  return `${parts.words}\n\n${piped}`
}
