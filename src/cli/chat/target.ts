// Which of the words behind `chat` is the model and which the prompt.
import { stat } from 'node:fs/promises'
import { badInput } from '../../base/errors.ts'
import { findAlias } from '../../model/aliases.ts'

export interface ChatTarget {
  model: string
  /** From the command line; undefined when none was given. */
  words: string | undefined
}

export interface TargetOptions {
  /** From PETALS_MODEL or the last use. */
  defaultModel: string | undefined
  /** Whether a path leads to something. Default: asks the file system. */
  exists?: (path: string) => Promise<boolean>
}

/**
 * Two words are MODEL and PROMPT. One word is the model when it names one or looks like a name; else
 * it is the prompt for the default model.
 */
export async function chatTarget(
  words: readonly string[],
  options: TargetOptions
): Promise<ChatTarget> {
  const [first, second, third] = words
  if (third !== undefined) {
    throw badInput(`There are too many words: '${third}'`, {
      hint: 'Put the prompt in quotes: petals chat MODEL "Why is the sky blue?"'
    })
  }
  if (first !== undefined && second !== undefined) return { model: first, words: second }
  const { defaultModel, exists = isThere } = options
  const model = defaultModel ?? 'smollm2-135m'
  if (first === undefined) return { model, words: undefined }
  if (findAlias(first) || (await exists(first))) return { model: first, words: undefined }
  const plainWord = /^\p{L}+$/u.test(first)
  const isPrompt = /\s/.test(first) || first === '' || (plainWord && defaultModel !== undefined)
  return isPrompt ? { model, words: first } : { model: first, words: undefined }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}
