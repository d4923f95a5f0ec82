// Petals for programs: models whose blocks a swarm computes, by the names that transformers and the
// original Petals give them. See scripts/examples for programs of ten lines.
import {
  AutoDistributedModelForCausalLM,
  FROM_PRETRAINED_OPTIONS,
  type GenerateOutput
} from './library/causal-lm.ts'
import { AutoTokenizer } from './library/auto-tokenizer.ts'

export {
  AutoDistributedModelForSequenceClassification,
  type ClassifierOptions,
  type Prediction
} from './library/classification/sequence-classification.ts'

export { AppError, type ErrorCode } from './base/errors.ts'
export type { LogitsProcessor } from './client/text/logits.ts'
export type { ChatMessage } from './model/text/chat-template.ts'
export type { GenerateInput } from './library/generate-options.ts'
export { InferenceSession, type SavedSession } from './library/inference-session.ts'
export type { PretrainedOptions } from './library/pretrained-options.ts'
export type { Tensor, TensorLike } from './library/training/tensor.ts'
export type { LossGradient, TrainingPass } from './library/training/training-pass.ts'
export type { ForwardOptions, StepOptions, Training } from './library/training/training.ts'
export type { TrainOptions } from './library/training/train-options.ts'
export { stepCount, stepsOf } from './tune/data/batches.ts'
export type { TokenExample } from './tune/data/tokens.ts'
export {
  adamW,
  clipGradients,
  gradientNorm,
  newAdamWState,
  type AdamWOptions,
  type AdamWState
} from './tune/optimise/adamw.ts'
export { learningRateAt, type Schedule, type ScheduleKind } from './tune/optimise/schedule.ts'
export type { TuneMethod, TuneShape, TuneValues } from './tune/parameters.ts'
export type { StepReport } from './tune/tuner.ts'
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
