// The tokenizer and chat template of a hub folder: the files that @huggingface/tokenizers reads as
// they are, and the ids that generation begins and ends with.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  type JsonObject,
  readJsonObject,
  readJsonObjectIfThere,
  readTextFile
} from '../formats/json-file.ts'
import type { TokenizerSpec } from '../types.ts'

/** `config` is the folder's config.json. @throws AppError NOT_FOUND, CORRUPT */
export function folderTokenizer(folder: string, config: JsonObject): TokenizerSpec {
  const json = readJsonObject(join(folder, 'tokenizer.json'))
  const own = readJsonObjectIfThere(join(folder, 'tokenizer_config.json'))
  const generation = readJsonObjectIfThere(join(folder, 'generation_config.json'))
  const bosText = textOf(own['bos_token'])
  const bosId = idOf(json, bosText) ?? idsOf(config['bos_token_id'])[0]
  const eosIds = [
    ...idsOf(generation['eos_token_id']),
    ...idsOf(config['eos_token_id']),
    idOf(json, textOf(own['eos_token']))
  ]
  return {
    json,
    config: own,
    bosId,
    eosIds: [...new Set(eosIds.filter((id) => id !== undefined))],
    addBos: bosText !== undefined && beginsWith(json['post_processor'], bosText)
  }
}

/**
 * `chat_template.jinja`, or the template in tokenizer_config.json (the one called 'default' of
 * several).
 */
export function folderChatTemplate(folder: string): string | undefined {
  const file = join(folder, 'chat_template.jinja')
  if (existsSync(file)) return readTextFile(file)
  const template = readJsonObjectIfThere(join(folder, 'tokenizer_config.json'))['chat_template']
  if (typeof template === 'string') return template
  if (!Array.isArray(template)) return undefined
  const named = template as { name?: unknown; template?: unknown }[]
  const found = named.find((each) => each.name === 'default')?.template
  return typeof found === 'string' ? found : undefined
}

/** A special token is written as its text, or as an object with its text. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  const content = (value as { content?: unknown } | null | undefined)?.content
  return typeof content === 'string' ? content : undefined
}

function idsOf(value: unknown): number[] {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  return list.filter((id): id is number => Number.isInteger(id) && (id as number) >= 0)
}

function idOf(json: JsonObject, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const added = Array.isArray(json['added_tokens']) ? (json['added_tokens'] as JsonObject[]) : []
  const id = added.find((token) => token['content'] === text)?.['id']
  const vocab = (json['model'] as { vocab?: unknown } | undefined)?.vocab
  const inVocab = Array.isArray(vocab) ? undefined : (vocab as JsonObject | undefined)?.[text]
  return idsOf(id ?? inVocab)[0]
}

/** Whether the tokenizer's own processing puts `bos` before a text. */
function beginsWith(processor: unknown, bos: string): boolean {
  const { type, single, processors } = (processor ?? {}) as Record<string, unknown>
  if (type === 'Sequence' && Array.isArray(processors)) {
    return processors.some((each) => beginsWith(each, bos))
  }
  if (type !== 'TemplateProcessing' || !Array.isArray(single)) return false
  const first = single[0] as { SpecialToken?: { id?: unknown } } | undefined
  return first?.SpecialToken?.id === bos
}
