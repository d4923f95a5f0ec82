// Checks requests against limits before anything is done for them. Pure.
import { AppError, badInput, overLimit, unsupported } from '../../base/errors.ts'
import type { SpanInfo } from '../../blocks/types.ts'
import type { OpenSession, Step } from '../../wire/types.ts'
import type { ServedSession } from './sessions.ts'

/** @throws AppError NOT_FOUND, BAD_INPUT or LIMIT */
export function checkOpen(message: OpenSession, model: Uint8Array, span: SpanInfo): void {
  if (Buffer.compare(message.model, model) !== 0) {
    throw new AppError('NOT_FOUND', 'The session was refused: this server has another model')
  }
  if (message.start < span.start || message.end > span.end || message.start >= message.end) {
    throw new AppError(
      'NOT_FOUND',
      `The session was refused: blocks ${message.start}:${message.end} are not in ${span.start}:${span.end}`
    )
  }
  if (message.maxTokens < 1 || message.maxTokens > span.maxTokens) {
    throw overLimit(
      `The session was refused: ${message.maxTokens} tokens, the model takes ${span.maxTokens}`
    )
  }
}

/** @throws AppError NOT_FOUND (replay), UNSUPPORTED, BAD_INPUT or LIMIT */
export function checkStep(step: Step, served: ServedSession | undefined, hiddenSize: number): void {
  if (!served) {
    throw new AppError('NOT_FOUND', 'The step was refused: no such session here', {
      retryable: true
    })
  }
  if (step.kind !== 'forward') {
    throw unsupported(`The step was refused: kind '${step.kind}' is not served yet`)
  }
  if (step.prompts || step.adapter) {
    throw unsupported(
      'The step was refused: adapters are named when a session is opened, and not by steps'
    )
  }
  if (step.count < 1 || step.tensor.rows !== step.count) {
    throw badInput(`The step was refused: ${step.tensor.rows} rows for ${step.count} tokens`)
  }
  if (step.tensor.columns !== hiddenSize) {
    throw badInput(
      `The step was refused: rows of ${step.tensor.columns} values, the model has ${hiddenSize}`
    )
  }
  if (step.start + step.count > served.maxTokens) {
    throw overLimit(
      `The step was refused: it ends at ${step.start + step.count}, ${served.maxTokens} were promised`
    )
  }
}
