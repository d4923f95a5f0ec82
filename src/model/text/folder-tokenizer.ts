// The tokenizer and chat template of a hub folder: tokenizer.json, or vocab.json with merges.txt in
// older models, and the ids with which generation begins and ends. special-tokens.ts decides which
// tokens are special.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { corrupt, notFound, unsupported } from '../../base/errors.ts'
import {
  type JsonObject,
  readJsonObject,
  readJsonObjectIfThere,
  readTextFile
} from '../formats/json-file.ts'
import type { TokenizerSpec } from '../types.ts'
import { byteLevelJson, splitMerge } from './byte-level.ts'
import { addedTokens, vocabularyOf } from './library.ts'
import { PRE_TYPES } from './pre-types.ts'
import { findSpecials, isSpecialText } from './special-tokens.ts'
import { addedToken, type AddedTokenJson } from './vocab.ts'

const WHOLE = 'tokenizer.json'
const PARTS = ['vocab.json', 'merges.txt'] as const

/** `config` is the folder's config.json. @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED */
export function folderTokenizer(folder: string, config: JsonObject): TokenizerSpec {
  checkFolderTokenizer(folder)
  const json = existsSync(join(folder, WHOLE))
    ? readJsonObject(join(folder, WHOLE))
    : jsonOfParts(folder)
  const own = readJsonObjectIfThere(join(folder, 'tokenizer_config.json'))
  const generation = readJsonObjectIfThere(join(folder, 'generation_config.json'))
  const first = firstSpecial(json['post_processor'])
  const bosId =
    idOf(json, textOf(own['bos_token'])) ??
    first?.id ??
    idOf(json, first?.text) ??
    idsOf(config['bos_token_id'])[0]
  const ends = [
    ...idsOf(generation['eos_token_id']),
    ...idsOf(config['eos_token_id']),
    idOf(json, textOf(own['eos_token']))
  ].filter((id) => id !== undefined)
  const others = ['unk_token', 'pad_token'].map((key) => idOf(json, textOf(own[key])))
  const added = addedTokens(json)
  const { special, ends: eosIds } = findSpecials(candidates(json, added), {
    bos: bosId,
    ends,
    others: others.filter((id) => id !== undefined)
  })
  const says = own['add_bos_token']
  return {
    json: { ...json, added_tokens: marked(json, added, special) },
    config: own,
    bosId,
    eosIds,
    // As in llama.cpp's converter: an explicit setting takes precedence over the processing.
    addBos: bosId !== undefined && (typeof says === 'boolean' ? says : first !== undefined)
  }
}

/** Checks that there is a tokenizer that can be read. @throws AppError NOT_FOUND, UNSUPPORTED */
export function checkFolderTokenizer(folder: string): void {
  const has = (name: string): boolean => existsSync(join(folder, name))
  if (has(WHOLE) || PARTS.every(has)) return
  const hint = `Save it with transformers' save_pretrained(), which writes ${WHOLE}`
  if (has('tokenizer.model')) {
    throw unsupported(`'${folder}' has its tokenizer in tokenizer.model only`, { hint })
  }
  throw notFound(`'${folder}' has no tokenizer: there is no ${WHOLE}`, { hint })
}

/**
 * `chat_template.jinja`, or the template in JSON (if there are several, the one called 'default').
 */
export function folderChatTemplate(folder: string): string | undefined {
  const file = join(folder, 'chat_template.jinja')
  if (existsSync(file)) return readTextFile(file)
  const template =
    readJsonObjectIfThere(join(folder, 'tokenizer_config.json'))['chat_template'] ??
    readJsonObjectIfThere(join(folder, 'chat_template.json'))['chat_template']
  if (typeof template === 'string') return template
  if (!Array.isArray(template)) return undefined
  const named = template as { name?: unknown; template?: unknown }[]
  const found = named.find((each) => each.name === 'default')?.template
  return typeof found === 'string' ? found : undefined
}

/** GPT-2's layout: a vocabulary, and a file with one merge per line after a version line. */
function jsonOfParts(folder: string): JsonObject {
  const tokens: string[] = []
  for (const [text, id] of Object.entries(readJsonObject(join(folder, PARTS[0])))) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) > 2 ** 23) {
      throw corrupt(`'${join(folder, PARTS[0])}' gives '${text}' no good id`)
    }
    tokens[id as number] = text
  }
  const lines = readTextFile(join(folder, PARTS[1])).split(/\r?\n/)
  const merges = lines.filter((line) => line !== '' && !line.startsWith('#version'))
  const pre = PRE_TYPES.get('gpt-2') ?? { patterns: [] }
  // Ids without a token are left empty.
  const texts = Array.from(tokens, (text) => text ?? '')
  return {
    version: '1.0',
    added_tokens: [],
    post_processor: null,
    ...byteLevelJson(texts, merges.map(splitMerge), pre)
  }
}

/** Tokens that may be special: added ones, and those whose text looks special. */
function candidates(
  json: JsonObject,
  added: readonly AddedTokenJson[]
): { id: number; text: string; isMarked: boolean }[] {
  const known = new Set(added.map(({ content }) => content))
  const plain = vocabularyOf(json).filter((text) => isSpecialText(text) && !known.has(text))
  return [
    ...added.map(({ id, content, special }) => ({ id, text: content, isMarked: special })),
    ...plain.flatMap((text) => {
      const id = idOf(json, text)
      return id === undefined ? [] : [{ id, text, isMarked: false }]
    })
  ]
}

/** The added tokens with corrected marks, and special tokens that were not among them. */
function marked(
  json: JsonObject,
  added: readonly AddedTokenJson[],
  special: ReadonlySet<number>
): AddedTokenJson[] {
  const known = new Set(added.map(({ id }) => id))
  const missing = [...special].filter((id) => !known.has(id))
  const texts = missing.length === 0 ? new Map<number, string>() : textsById(json)
  return [
    ...added.map((token) => ({ ...token, special: token.special || special.has(token.id) })),
    ...missing.flatMap((id) => {
      const text = texts.get(id)
      return text === undefined || text === '' ? [] : [addedToken(id, text, true)]
    })
  ]
}

function textsById(json: JsonObject): Map<number, string> {
  const vocab = (json['model'] as { vocab?: unknown } | undefined)?.vocab
  if (Array.isArray(vocab)) return new Map(vocabularyOf(json).map((text, id) => [id, text]))
  return new Map(Object.entries((vocab ?? {}) as object).map(([text, id]) => [Number(id), text]))
}

/** A special token is given as its text, or as an object with its text. */
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

/** The special token that the tokenizer's own processing puts before a text. */
function firstSpecial(processor: unknown): { id: number | undefined; text: string } | undefined {
  const { type, single, processors, special_tokens: known } = (processor ?? {}) as JsonObject
  if (type === 'Sequence' && Array.isArray(processors)) {
    return processors.map(firstSpecial).find((each) => each !== undefined)
  }
  if (type !== 'TemplateProcessing' || !Array.isArray(single)) return undefined
  const text = (single[0] as { SpecialToken?: { id?: unknown } } | undefined)?.SpecialToken?.id
  if (typeof text !== 'string') return undefined
  const facts = (known as Record<string, { ids?: unknown }> | undefined)?.[text]
  return { text, id: idsOf(facts?.ids)[0] }
}
