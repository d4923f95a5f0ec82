// Whether a tokenizer.json can be used without harm: its steps run in this process, over whatever
// people write, and nothing can stop them. Knows the steps that rewrite or split texts;
// bounded-pattern.ts judges their patterns.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { JsonObject } from '../formats/json-file.ts'
import { isBoundedPattern } from './bounded-pattern.ts'

const MAX_STEPS = 64 // the longest known, DeepSeek's, has 7
const MAX_DEPTH = 8
const MAX_GROWTH = 16 // a text of 15 MB must not become one of gigabytes
const MAX_TEXT_LENGTH = 64

/** Members that hold steps, by the member that lists further ones. */
const PARTS = ['normalizer', 'pre_tokenizer', 'decoder'] as const
const LISTS = ['normalizers', 'pretokenizers', 'decoders'] as const
/** Texts that a step or the model puts between or behind pieces. */
const TEXTS: readonly string[] = [
  'content',
  'prepend',
  'prefix',
  'replacement',
  'str_rep',
  'suffix',
  'end_of_word_suffix',
  'continuing_subword_prefix',
  'continuing_subword_suffix'
]

/** @throws AppError CORRUPT, or UNSUPPORTED naming the pattern */
export function checkDescription(json: object): void {
  for (const part of PARTS) {
    const steps = stepsOf((json as JsonObject)[part], 0)
    if (steps.length > MAX_STEPS) {
      throw corrupt(`The tokenizer cannot be opened: its ${part} has ${steps.length} steps`)
    }
    const growth = steps.reduce((product, step) => product * checkStep(step), 1)
    if (growth > MAX_GROWTH) {
      throw corrupt(
        `The tokenizer cannot be opened: its ${part} makes texts ${growth} times as long`
      )
    }
  }
  checkTexts(objectOf((json as JsonObject)['model']))
}

function stepsOf(step: unknown, depth: number): JsonObject[] {
  if (typeof step !== 'object' || step === null) return []
  if (depth > MAX_DEPTH) throw corrupt('The tokenizer cannot be opened: its steps are nested')
  const within = LISTS.flatMap((key) => {
    const list = (step as JsonObject)[key]
    return Array.isArray(list) ? list.flatMap((each: unknown) => stepsOf(each, depth + 1)) : []
  })
  return [step as JsonObject, ...within]
}

/** Returns how many times as long it can make a text. */
function checkStep(step: JsonObject): number {
  checkTexts(step)
  if (step['type'] === 'FixedLength' && !(Number(step['length']) >= 1)) {
    throw corrupt('The tokenizer cannot be opened: it splits into pieces of no length')
  }
  const { Regex: regex, String: text } = objectOf(step['pattern'])
  if (regex !== undefined && !(typeof regex === 'string' && isBoundedPattern(regex))) {
    const shown = String(regex).slice(0, MAX_TEXT_LENGTH)
    throw unsupported(`The tokenizer's way of splitting text, '${shown}', is not known yet`, {
      hint: 'A pattern may repeat words or spaces once, and nothing that is repeated already'
    })
  }
  const put = lengthOf(step['content'] ?? step['str_rep'])
  if (regex === undefined && text === undefined && step['type'] !== 'Metaspace') return 1
  const taken = typeof text === 'string' ? text.length : 0
  // A pattern that matches nothing puts its text between all characters.
  return Math.max(1, taken > 0 ? put / taken : put + 1)
}

function checkTexts(step: JsonObject): void {
  for (const key of TEXTS) {
    if (lengthOf(step[key]) > MAX_TEXT_LENGTH) {
      throw corrupt(
        `The tokenizer cannot be opened: its '${key}' is over ${MAX_TEXT_LENGTH} letters`
      )
    }
  }
}

function lengthOf(value: unknown): number {
  return typeof value === 'string' ? value.length : 0
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
