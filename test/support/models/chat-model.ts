// As much of a model as a chat template needs.
import type { Model } from '../../../src/model/types.ts'

export type ChatOnly = Pick<Model, 'chatTemplate' | 'config' | 'tokenizer'>

/** `texts` are the special tokens by id, the first BOS and the second EOS. */
export function chatModel(chatTemplate: string, texts: readonly string[] = []): ChatOnly {
  const added = texts.map((content, id) => ({ id, content, special: true, normalized: false }))
  return {
    chatTemplate,
    config: CONFIG,
    tokenizer: {
      json: { added_tokens: added },
      config: {},
      bosId: texts.length > 0 ? 0 : undefined,
      eosIds: texts.length > 1 ? [1] : [],
      addBos: false
    }
  }
}

const CONFIG: Model['config'] = {
  family: 'llama',
  name: 'Chat',
  hiddenSize: 8,
  blockCount: 1,
  headCount: 1,
  kvHeadCount: 1,
  headDim: 8,
  ffnSize: 8,
  vocabSize: 8,
  contextLength: 64,
  ropeTheta: 10_000,
  rmsEps: 1e-5,
  tiedEmbedding: true
}
