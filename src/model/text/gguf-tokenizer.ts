// Describes a GGUF's tokenizer (byte-level BPE, SentencePiece, BPE over characters) in the form
// that
// @huggingface/tokenizers reads. Knows the `tokenizer.ggml.*` keys; pre-types.ts knows how text is
// split.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { Metadata } from '../formats/gguf-metadata.ts'
import type { TokenizerSpec } from '../types.ts'
import { byteLevelJson, splitBy, splitMerge } from './byte-level.ts'
import { PRE_TYPES, type PreType } from './pre-types.ts'
import { sentencePieceJson, spacesToText } from './sentencepiece.ts'
import { findSpecials, isSpecialText, type SpecialTokens } from './special-tokens.ts'
import { addedToken, vocabOf } from './vocab.ts'

/** Values of `tokenizer.ggml.token_type`. */
const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4

/** llama.cpp's defaults if a SentencePiece file gives no ids. */
const SENTENCEPIECE_IDS: Readonly<Record<string, number>> = { unknown: 0, bos: 1, eos: 2 }
/** Keys of control tokens that do not end an answer. */
const OTHERS: readonly string[] = [
  'padding',
  'seperator',
  'separator',
  'mask',
  'fim_pre',
  'fim_suf',
  'fim_mid',
  'prefix',
  'suffix',
  'middle'
]
/** Every merge makes a token, and few tokens can be made in several ways. */
const MAX_MERGES_PER_TOKEN = 16

/** @throws AppError CORRUPT, or UNSUPPORTED for tokenizers that we cannot describe. */
export function ggufTokenizer(metadata: Metadata, vocabSize: number): TokenizerSpec {
  const { kind, pre } = checkTokenizer(metadata, vocabSize)
  const tokens = metadata.strings('tokenizer.ggml.tokens') ?? []
  const types = metadata.numbers('tokenizer.ggml.token_type') ?? []
  const ids = (key: string): number[] => {
    const fallback = kind === 'llama' ? SENTENCEPIECE_IDS[key] : undefined
    const found = metadata.numbers(`tokenizer.ggml.${key}_token_id`) ?? [fallback ?? -1]
    return found.filter((id) => Number.isInteger(id) && tokens[id] !== undefined)
  }
  const [bosId] = ids('bos')
  const specials = findSpecials(candidates(tokens, types), {
    bos: bosId,
    ends: ['eos', 'eot', 'eom', 'fim_pad', 'fim_rep', 'fim_sep'].flatMap(ids),
    others: OTHERS.flatMap(ids)
  })
  const spec = (json: object, addBosByDefault: boolean): TokenizerSpec => ({
    json: {
      version: '1.0',
      added_tokens: addedTokens(tokens, types, specials),
      post_processor: null,
      ...json
    },
    config: { clean_up_tokenization_spaces: false },
    bosId,
    eosIds: specials.ends,
    addBos:
      (metadata.flag('tokenizer.ggml.add_bos_token') ?? addBosByDefault) && bosId !== undefined
  })
  if (pre === undefined) {
    const scores = metadata.numbers('tokenizer.ggml.scores') ?? []
    const addPrefix = metadata.flag('tokenizer.ggml.add_space_prefix') ?? true
    const unk = tokens[ids('unknown')[0] ?? 0]
    const isText = (id: number): boolean =>
      [NORMAL, USER_DEFINED].includes(types[id] ?? NORMAL) && !specials.special.has(id)
    const apart = new Set(tokens.keys().filter((id) => !isText(id)))
    return spec(sentencePieceJson({ tokens, scores, addPrefix, unk, apart }), true)
  }
  const merges = (metadata.strings('tokenizer.ggml.merges') ?? []).map(splitMerge)
  const unk = tokens[ids('unknown')[0] ?? -1]
  const json = pre.isCharacters
    ? charactersJson(tokens, merges, pre, unk)
    : byteLevelJson(tokens, merges, pre)
  return spec(json, pre.addBos ?? false)
}

/**
 * Checks that there is a tokenizer that we understand, without reading its lists: a server asks
 * this before it fetches weights that no client could use. @throws AppError CORRUPT, UNSUPPORTED
 */
export function checkTokenizer(
  metadata: Metadata,
  vocabSize: number
): { kind: string; pre: PreType | undefined } {
  const kind = metadata.string('tokenizer.ggml.model')
  const count = metadata.count('tokenizer.ggml.tokens')
  if (kind === undefined || count === undefined) throw corrupt('The GGUF has no tokenizer')
  if (count > vocabSize) {
    throw corrupt(`The tokenizer has ${count} tokens, the embedding ${vocabSize} rows`)
  }
  for (const list of ['token_type', 'scores']) {
    const length = metadata.count(`tokenizer.ggml.${list}`)
    if (length !== undefined && length !== count) {
      throw corrupt(`The tokenizer has ${count} tokens, and '${list}' of ${length}`)
    }
  }
  if (kind === 'llama') return { kind, pre: undefined }
  if (kind !== 'gpt2' && kind !== 'gemma4') {
    throw unsupported(`The tokenizer '${kind}' is not known yet`, {
      hint: 'Known are gpt2, llama and gemma4'
    })
  }
  const merges = metadata.count('tokenizer.ggml.merges')
  if (merges === undefined) throw corrupt('The tokenizer has no merges')
  if (merges > count * MAX_MERGES_PER_TOKEN) {
    throw corrupt(`The tokenizer has ${count} tokens, and ${merges} merges`)
  }
  const name = kind === 'gemma4' ? kind : (metadata.string('tokenizer.ggml.pre') ?? 'default')
  const pre = PRE_TYPES.get(name)
  if (pre) return { kind, pre }
  throw unsupported(`The tokenizer's way of splitting text, '${name}', is not known yet`, {
    hint: `Known are: ${[...PRE_TYPES.keys()].join(', ')}`
  })
}

function candidates(
  tokens: readonly string[],
  types: readonly number[]
): { id: number; text: string; isMarked: boolean }[] {
  return tokens.flatMap((text, id) => {
    const isMarked = types[id] === CONTROL || types[id] === UNKNOWN
    return text !== '' && (isMarked || isSpecialText(text)) ? [{ id, text, isMarked }] : []
  })
}

/**
 * Tokens that are taken out of a text before it is split: control tokens, and those that the file's
 * author defined.
 */
function addedTokens(
  tokens: readonly string[],
  types: readonly number[],
  { special }: SpecialTokens
): object[] {
  return tokens.flatMap((content, id) => {
    const isSpecial = special.has(id)
    if (content === '' || (!isSpecial && types[id] !== USER_DEFINED)) return []
    return [addedToken(id, content, isSpecial)]
  })
}

/** As in Gemma 4: merges over characters, and bytes for those that are no token. */
function charactersJson(
  tokens: readonly string[],
  merges: readonly [string, string][],
  pre: PreType,
  unk: string | undefined
): object {
  return {
    ...spacesToText(false),
    pre_tokenizer: { type: 'Sequence', pretokenizers: pre.patterns.map(splitBy) },
    model: {
      type: 'BPE',
      vocab: vocabOf(tokens),
      merges,
      unk_token: unk ?? null,
      byte_fallback: true,
      fuse_unk: true,
      ignore_merges: false
    }
  }
}
