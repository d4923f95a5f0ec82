// Which chat template a model is given when its files have none, or when the user names another.
// Files from before templates were stored, and converted ones, have none; the model was trained on
// one all the same.
import { readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { badInput, toAppError } from '../../base/errors.ts'
import { findAlias } from '../aliases.ts'
import type { Model } from '../types.ts'
import { KNOWN_TEMPLATES } from './template/known-templates.ts'
import { addedTokens } from './library.ts'

export interface TemplateChoice {
  /** What the model was asked for by: an alias, a repository, a path. */
  readonly name: string
  /** A template's source in place of the files' own. */
  readonly template?: string | undefined
  /** Called once, when a template of ours is first used for want of the files' own. */
  readonly onguess?: (template: string) => void
}

const MAX_FILE_BYTES = 2 ** 18

/** Marks that are tokens of a vocabulary, all of them, and the template that writes them. */
const BY_TOKENS: readonly (readonly [string, ...string[]])[] = [
  ['chatml', '<|im_start|>', '<|im_end|>'],
  ['llama3', '<|start_header_id|>', '<|eot_id|>'],
  ['gemma', '<start_of_turn>', '<end_of_turn>'],
  ['mistral-tools', '[INST]', '[AVAILABLE_TOOLS]'],
  ['phi3', '<|user|>', '<|assistant|>', '<|end|>']
]
/** Names of models, their letters and digits alone. */
const BY_NAME: readonly (readonly [string, RegExp])[] = [
  ['zephyr', /zephyr|tinyllama.*chat/],
  ['vicuna', /vicuna/],
  ['alpaca', /alpaca/],
  ['llama2', /llama2.*chat|llamav2.*chat|codellama.*instruct/],
  ['mistral', /mi[sx]tral.*instruct/],
  ['falcon', /falcon.*(?:instruct|chat)/]
]

/** `model` with the chosen template, or with one of ours where its files have none. */
export function withTemplate(model: Model, choice: TemplateChoice): Model {
  let isTold = false
  const own = (): string | undefined => {
    const source = model.chatTemplate
    if (source !== undefined && source !== '') return source
    const name = guessTemplate(model, choice.name)
    if (name !== undefined && !isTold) choice.onguess?.(name)
    isTold = true
    return name === undefined ? undefined : KNOWN_TEMPLATES.get(name)
  }
  return Object.create(model, {
    chatTemplate: { enumerable: true, get: () => choice.template ?? own() }
  }) as Model
}

/** The name of a template that fits; undefined when nothing speaks for one. */
export function guessTemplate(
  model: Pick<Model, 'config' | 'location' | 'tokenizer'>,
  name: string
): string | undefined {
  const tokens = new Set(
    addedTokens(model.tokenizer.json)
      .filter(({ special }) => special)
      .map(({ content }) => content)
  )
  const byTokens = BY_TOKENS.find(([, ...marks]) => marks.every((mark) => tokens.has(mark)))
  if (byTokens) return byTokens[0]
  const alias = findAlias(name)
  const names = [
    name,
    alias?.title ?? '',
    model.config.name,
    basename(model.location.paths[0] ?? '')
  ]
  const plain = names.map((each) => each.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))
  return BY_NAME.find(([, pattern]) => plain.some((each) => pattern.test(each)))?.[0]
}

/** A template by the name of one of ours, or from a file. @throws AppError BAD_INPUT */
export function readTemplate(nameOrFile: string): string {
  const known = KNOWN_TEMPLATES.get(nameOrFile)
  if (known !== undefined) return known
  const hint = `Give a file, or one of: ${[...KNOWN_TEMPLATES.keys()].join(', ')}`
  const found = statSync(nameOrFile, { throwIfNoEntry: false })
  if (!found?.isFile()) {
    throw badInput(`There is no chat template '${nameOrFile}': it is no name and no file`, { hint })
  }
  if (found.size > MAX_FILE_BYTES) {
    throw badInput(`'${nameOrFile}' is no chat template: it has ${found.size} bytes`, { hint })
  }
  try {
    return readFileSync(nameOrFile, 'utf8')
  } catch (error) {
    throw badInput(`The chat template cannot be read: ${toAppError(error).message}`, {
      cause: error
    })
  }
}
