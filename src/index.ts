// Petals for programs: models whose blocks a swarm computes, by the names that transformers and the
// original Petals give them. See scripts/examples for programs of ten lines.
import {
  AutoDistributedModelForCausalLM,
  FROM_PRETRAINED_OPTIONS,
  type GenerateOutput
} from './library/causal-lm.ts'
import { AutoTokenizer } from './library/auto-tokenizer.ts'

export { AppError, type ErrorCode } from './base/errors.ts'
export type { LogitsProcessor } from './client/text/logits.ts'
export type { ChatMessage } from './model/text/chat-template.ts'
export type { GenerateInput } from './library/generate-options.ts'
export { InferenceSession, type SavedSession } from './library/inference-session.ts'
export type { PretrainedOptions } from './library/pretrained-options.ts'
export { TextStreamer, type Streamer, type TextStreamerOptions } from './library/streamer.ts'
export type { AnswerEnd } from './library/text/answer.ts'
export type { Encoding, Ids, PretrainedTokenizer } from './library/tokenizer.ts'
export {
  AutoDistributedModelForCausalLM,
  AutoTokenizer,
  FROM_PRETRAINED_OPTIONS,
  type GenerateOutput
}

/** The name that users of the original Petals know. */
export const AutoDistributedModel: typeof AutoDistributedModelForCausalLM =
  AutoDistributedModelForCausalLM
