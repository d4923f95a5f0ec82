// A model's tokenizer by the names that transformers gives its parts.
import { badInput } from '../base/errors.ts'
import { encodeChat } from '../model/text/chat-ids.ts'
import { renderChat, type ChatMessage } from '../model/text/chat-template.ts'
import { createTokenizer, type Tokenizer } from '../model/text/tokenizer.ts'
import type { Model } from '../model/types.ts'
import { messagesOption } from './messages-option.ts'
import { booleanOption, namedOptions } from './named-options.ts'

export interface Encoding {
  readonly input_ids: number[]
  /** 1 for each id: nothing is padded. */
  readonly attention_mask: number[]
}

/** Ids as programs give them: a list, or an array of numbers or big integers. */
export type Ids = readonly number[] | Int32Array | Uint32Array | BigInt64Array

/** Called with a text it encodes it, as transformers' tokenizers do. */
export type PretrainedTokenizer = ((text: string) => Encoding) & TokenizerMethods

export interface TokenizerMethods {
  /** What the rest of the library reads. */
  readonly tokenizer: Tokenizer
  readonly eos_token_ids: readonly number[]
  readonly bos_token_id: number | undefined
  readonly vocab_size: number
  /**
   * Ids of a text. `add_special_tokens`: with the model's beginning, default true.
   * @throws AppError BAD_INPUT
   */
  encode(text: string, options?: object): number[]
  /** The text of ids. `skip_special_tokens`: without special ones, default false. */
  decode(ids: Ids, options?: object): string
  batch_decode(batch: readonly Ids[], options?: object): string[]
  /**
   * Messages as the model was trained on them: ids, or with `tokenize: false` text. Further
   * options: `add_generation_prompt` (default false, as in transformers), `tools`, `documents`.
   * @throws AppError BAD_INPUT for a model without a chat template
   */
  apply_chat_template(
    messages: readonly ChatMessage[],
    options: { readonly tokenize: false } & Readonly<Record<string, unknown>>
  ): string
  apply_chat_template(messages: readonly ChatMessage[], options?: object): number[]
}

/** Ids as plain numbers. */
export function plainIds(ids: Ids): number[] {
  return Array.from(ids as ArrayLike<number | bigint>, Number)
}

export function pretrainedTokenizer(
  model: Pick<Model, 'chatTemplate' | 'config' | 'tokenizer'>,
  tokenizer: Tokenizer = createTokenizer(model.tokenizer)
): PretrainedTokenizer {
  const encode = (text: string, options: object = {}): number[] => {
    const named = namedOptions({ ...options }, ['add_special_tokens'], 'encode()')
    if (typeof text !== 'string') throw badInput('Only a text can be encoded')
    const addSpecial = booleanOption('add_special_tokens', named.add_special_tokens) ?? true
    return tokenizer.encode(text, { addSpecial, parseSpecial: true })
  }
  const decode = (ids: Ids, options: object = {}): string => {
    const named = namedOptions({ ...options }, ['skip_special_tokens'], 'decode()')
    const skipSpecial = booleanOption('skip_special_tokens', named.skip_special_tokens) ?? false
    return tokenizer.decode(plainIds(ids), { skipSpecial })
  }
  function applyTemplate(said: readonly ChatMessage[], given: object = {}): number[] | string {
    const messages = messagesOption(said)
    const options = namedOptions(
      { ...given },
      ['tokenize', 'add_generation_prompt', 'tools', 'documents', 'variables'],
      'apply_chat_template()'
    )
    const template = {
      addGenerationPrompt:
        booleanOption('add_generation_prompt', options.add_generation_prompt) ?? false,
      ...(options.tools ? { tools: options.tools as readonly object[] } : {}),
      ...(options.documents ? { documents: options.documents as readonly object[] } : {}),
      ...(options.variables ? { variables: options.variables as Record<string, unknown> } : {})
    }
    if (booleanOption('tokenize', options.tokenize) === false) {
      return renderChat(model, messages, template)
    }
    return encodeChat(model, tokenizer, messages, template)
  }
  const methods: TokenizerMethods = {
    tokenizer,
    eos_token_ids: model.tokenizer.eosIds,
    bos_token_id: model.tokenizer.bosId,
    vocab_size: model.config.vocabSize,
    encode,
    decode,
    batch_decode: (batch, options) => batch.map((ids) => decode(ids, options)),
    // One function for ids and text: which it gives, `tokenize` says.
    apply_chat_template: applyTemplate as TokenizerMethods['apply_chat_template']
  }
  const call = (text: string): Encoding => {
    const ids = encode(text)
    return { input_ids: ids, attention_mask: ids.map(() => 1) }
  }
  return Object.assign(call, methods)
}
