// POST /tokenize and /detokenize, as llama-server has them.
import { PromptTooLong } from '../../model/text/tokenizer.ts'
import { RequestError } from './errors.ts'
import type { EndpointContext } from './endpoint.ts'
import type { Fields } from './fields.ts'

/** Nobody else is answered meanwhile: what no model takes at once is not encoded at once. */
const LEAST_LIMIT = 2 ** 15
const MOST_IDS = 2 ** 18

export function tokenize(fields: Fields, { model }: EndpointContext): object {
  const { tokenizer, config } = model.local
  const content = fields.string('content') ?? ''
  const maxTokens = Math.max(LEAST_LIMIT, config.contextLength)
  const options = {
    addSpecial: fields.boolean('add_special') ?? false,
    parseSpecial: fields.boolean('parse_special') ?? true,
    maxTokens
  }
  const tokens = atMost(maxTokens, () => tokenizer.encode(content, options))
  if (fields.boolean('with_pieces') !== true) return { tokens }
  const pieces = tokens.map((id) => ({ id, piece: tokenizer.decode([id], { skipSpecial: false }) }))
  return { tokens: pieces }
}

export function detokenize(fields: Fields, { model }: EndpointContext): object {
  const ids = fields.array('tokens', MOST_IDS)
  const { vocabSize } = model.local.config
  if (!ids.every((id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocabSize)) {
    throw new RequestError("'tokens' must be ids of the model's vocabulary", { param: 'tokens' })
  }
  const content = model.local.tokenizer.decode(ids as number[], { skipSpecial: false })
  return { content }
}

/** @throws RequestError for a text of more tokens */
function atMost(mostTokens: number, encode: () => number[]): number[] {
  try {
    return encode()
  } catch (error) {
    if (!(error instanceof PromptTooLong)) throw error
    throw new RequestError(`'content' has more than ${mostTokens} tokens: send it in parts`, {
      code: 'context_length_exceeded',
      param: 'content'
    })
  }
}
