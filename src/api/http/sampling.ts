// What requests say about sampling and limits, as options of an answer. Shared by all endpoints.
import { biasProcessor, countPenalties, type LogitsProcessor } from '../../client/text/logits.ts'
import type { AnswerOptions } from '../../library/text/answer.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'

export interface RequestLimits {
  readonly vocabSize: number
  readonly contextLength: number
}

/** OpenAI's default; clients that want another one say so. */
const TEMPERATURE = 1
const MOST_STOPS = 16
const MOST_BIASES = 1024

/** @throws RequestError */
export function samplingOf(fields: Fields, limits: RequestLimits): AnswerOptions {
  const { vocabSize, contextLength } = limits
  const maxTokens =
    fields.integer('max_completion_tokens', 0, 2 ** 31) ?? fields.integer('max_tokens', -1, 2 ** 31)
  const seed = fields.integer('seed', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  const topK = fields.integer('top_k', -1, 2 ** 31)
  const penalty =
    fields.number('repetition_penalty', 0.01, 100) ?? fields.number('repeat_penalty', 0.01, 100)
  return {
    temperature: fields.number('temperature', 0, 100) ?? TEMPERATURE,
    topP: fields.number('top_p', 0, 1) || 1,
    topK: topK === undefined || topK < 0 ? 0 : topK,
    minP: fields.number('min_p', 0, 1) ?? 0,
    ...(penalty === undefined ? {} : { repetitionPenalty: penalty }),
    ...(seed === undefined ? {} : { seed: Math.abs(seed) }),
    maxTokens: maxTokens === undefined || maxTokens < 0 ? contextLength : maxTokens,
    stop: fields.strings('stop', MOST_STOPS),
    processors: processorsOf(fields, vocabSize)
  }
}

function processorsOf(fields: Fields, vocabSize: number): LogitsProcessor[] {
  const processors: LogitsProcessor[] = []
  const frequency = fields.number('frequency_penalty', -2, 2) ?? 0
  const presence = fields.number('presence_penalty', -2, 2) ?? 0
  if (frequency !== 0 || presence !== 0) processors.push(countPenalties(frequency, presence))
  const biases = fields.object('logit_bias')
  if (biases) {
    const entries = Object.entries(biases.body)
    if (entries.length > MOST_BIASES) {
      throw new RequestError(
        `'logit_bias' has ${entries.length} entries: ${MOST_BIASES} are the most`,
        {
          param: 'logit_bias'
        }
      )
    }
    const pairs = entries.map(([id, bias]) => [Number(id), Number(bias)] as const)
    processors.push(biasProcessor(new Map(pairs), vocabSize))
  }
  return processors
}
