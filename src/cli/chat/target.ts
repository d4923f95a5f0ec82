// Decides which of the words after `chat` are the model and the prompt.
import { stat } from 'node:fs/promises'
import { badInput } from '../../base/errors.ts'
import { findAlias, nearestAlias } from '../../model/aliases.ts'
import { parseRepoName } from '../../model/hub/repo-name.ts'

export interface ChatTarget {
  model: string
  /** From the command line; undefined if there were none. */
  words: string | undefined
  /** A model's name that is similar to the words, which are taken as a prompt. */
  near?: string
}

export interface TargetOptions {
  /** From PETALS_MODEL or the last use. */
  defaultModel: string | undefined
  /** Whether a path exists. Default: asks the file system. */
  exists?: (path: string) => Promise<boolean>
}

const CONTENT_ID = /^[0-9a-f]{64}$/
/**
 * What is spelt like a model file or a relative path is meant as one, even if it does not exist.
 */
const MODEL_FILE = /\.(gguf|bin|safetensors)$|^\.{1,2}\/\S+$/i

/**
 * Two words are MODEL and PROMPT. One word is the model if it is an alias, an existing path,
 * owner/name of a hub, a content id, or spelt like a model file; any other word is the prompt for
 * the default model.
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
  const { defaultModel, exists = isThere } = options
  const model = defaultModel ?? 'smollm2-135m'
  if (second !== undefined) {
    if (first) return { model: first, words: second }
    throw badInput("A model cannot be called ''", { hint: 'petals chat MODEL PROMPT' })
  }
  if (first === undefined) return { model, words: undefined }
  const isModel =
    findAlias(first) !== undefined ||
    CONTENT_ID.test(first) ||
    parseRepoName(first) !== undefined ||
    MODEL_FILE.test(first) ||
    (first !== '' && (await exists(first)))
  if (isModel) return { model: first, words: undefined }
  const near = /^[\w.-]{4,}$/.test(first) ? nearestAlias(first) : undefined
  return { model, words: first, ...(near === undefined ? {} : { near }) }
}

/** Whether a path exists. */
export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}
