// Describes a GGUF's tokenizer (byte-level BPE and SentencePiece) as @huggingface/tokenizers reads
// it. Knows the `tokenizer.ggml.*` keys and how llama.cpp splits text for each `pre` type.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { Metadata } from '../formats/gguf-metadata.ts'
import { sentencePieceJson } from './sentencepiece.ts'
import type { TokenizerSpec } from '../types.ts'
import { addedToken, vocabOf } from './vocab.ts'

/** Values of `tokenizer.ggml.token_type`. */
const NORMAL = 1
const CONTROL = 3
const USER_DEFINED = 4

/** Control tokens that end an answer though the metadata may not name them, as llama.cpp has it. */
const END_TEXTS: ReadonlySet<string> = new Set([
  '<|im_end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<end_of_turn>',
  '<EOT>',
  '</s>'
])

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const CL100K_TAIL = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const CL100K_HEAD = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"

interface PreType {
  /** Applied one after the other; each match is a piece of its own. */
  readonly patterns: readonly string[]
  /** A piece that is a token as it stands is not taken apart. */
  readonly ignoreMerges?: boolean
  readonly addBos?: boolean
}

const DIGITS_THEN_GPT2: PreType = { patterns: ['\\p{N}', GPT2] }
const LLAMA3: PreType = {
  patterns: [`${CL100K_HEAD}|\\p{N}{1,3}|${CL100K_TAIL}`],
  ignoreMerges: true,
  addBos: true
}
const QWEN2: PreType = { patterns: [`${CL100K_HEAD}|\\p{N}|${CL100K_TAIL}`] }

const PRE_TYPES: ReadonlyMap<string, PreType> = new Map([
  ['default', { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'] }],
  ['gpt-2', { patterns: [GPT2] }],
  ['smollm', DIGITS_THEN_GPT2],
  ['starcoder', DIGITS_THEN_GPT2],
  ['refact', DIGITS_THEN_GPT2],
  ['command-r', DIGITS_THEN_GPT2],
  ['llama-bpe', LLAMA3],
  ['llama3', LLAMA3],
  ['llama-v3', LLAMA3],
  ['qwen2', QWEN2],
  ['deepseek-r1-qwen', QWEN2],
  ['stablelm2', QWEN2]
])

/** @throws AppError CORRUPT, or UNSUPPORTED for tokenizers that we cannot describe. */
export function ggufTokenizer(metadata: Metadata, vocabSize: number): TokenizerSpec {
  const kind = metadata.string('tokenizer.ggml.model')
  const tokens = metadata.strings('tokenizer.ggml.tokens')
  if (kind === undefined || tokens === undefined) {
    throw corrupt('The GGUF has no tokenizer')
  }
  if (tokens.length > vocabSize) {
    throw corrupt(`The tokenizer has ${tokens.length} tokens, the embedding ${vocabSize} rows`)
  }
  const types = metadata.numbers('tokenizer.ggml.token_type') ?? []
  const id = (key: string): number | undefined => {
    const value = metadata.number(`tokenizer.ggml.${key}_token_id`)
    return value !== undefined && Number.isInteger(value) && tokens[value] !== undefined
      ? value
      : undefined
  }
  const addedTokens = tokens.flatMap((content, index) => {
    const type = types[index]
    if ((type !== CONTROL && type !== USER_DEFINED) || content === '') return []
    return [addedToken(index, content, type === CONTROL)]
  })
  const common = { version: '1.0', added_tokens: addedTokens, post_processor: null }
  const eosIds = new Set([id('eos'), id('eot')].filter((each) => each !== undefined))
  for (const { id: index, content, special } of addedTokens) {
    if (special && END_TEXTS.has(content)) eosIds.add(index)
  }
  const spec = (json: object, addBosByDefault: boolean): TokenizerSpec => ({
    json: { ...common, ...json },
    config: { clean_up_tokenization_spaces: false },
    bosId: id('bos'),
    eosIds: [...eosIds],
    addBos:
      (metadata.flag('tokenizer.ggml.add_bos_token') ?? addBosByDefault) && id('bos') !== undefined
  })
  if (kind === 'llama') {
    const scores = metadata.numbers('tokenizer.ggml.scores') ?? []
    const addPrefix = metadata.flag('tokenizer.ggml.add_space_prefix') ?? true
    const unk = tokens[id('unknown') ?? 0]
    const isApart = (type = NORMAL): boolean => type !== NORMAL && type !== USER_DEFINED
    const apart = new Set(tokens.keys().filter((index) => isApart(types[index])))
    return spec(sentencePieceJson({ tokens, scores, addPrefix, unk, apart }), true)
  }
  if (kind !== 'gpt2') throw unsupported(`The tokenizer '${kind}' is not known yet`)
  const name = metadata.string('tokenizer.ggml.pre') ?? 'default'
  const pre = PRE_TYPES.get(name)
  if (!pre) {
    throw unsupported(`The tokenizer's way of splitting text, '${name}', is not known yet`, {
      hint: `Known are: ${[...PRE_TYPES.keys()].join(', ')}`
    })
  }
  const merges = metadata.strings('tokenizer.ggml.merges')
  if (!merges) throw corrupt('The tokenizer has no merges')
  return spec(byteLevelJson(tokens, merges, pre), pre.addBos ?? false)
}

function byteLevelJson(tokens: readonly string[], merges: readonly string[], pre: PreType): object {
  const vocab = vocabOf(tokens)
  return {
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...pre.patterns.map((pattern) => ({
          type: 'Split',
          pattern: { Regex: pattern },
          behavior: 'Isolated',
          invert: false
        })),
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
      ]
    },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab,
      merges: merges.map(splitMerge),
      unk_token: null,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false
    }
  }
}

/** The separating space is the first one that is not at the front. */
function splitMerge(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1)
  if (space < 0) throw corrupt(`The tokenizer's merge '${merge}' is no pair`)
  return [merge.slice(0, space), merge.slice(space + 1)]
}
