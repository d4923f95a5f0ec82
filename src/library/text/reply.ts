// An answer in its parts: text for the reader, what the model thought, and calls of tools, as they
// are certain. Knows no HTTP.
import type { DrawnLogProb } from '../../client/text/logits.ts'
import type { ReplyDelta, ReplyParser } from '../../client/text/reply/types.ts'
import { answer, type AnswerEnd, type AnswerOptions } from './answer.ts'
import type { Lender } from './text-model.ts'

export type ReplyEvent = ReplyDelta & {
  /** Of the tokens since the event before, where they were asked for. */
  readonly logProbs: readonly DrawnLogProb[]
}

export interface ReplyEnd extends Omit<AnswerEnd, 'finish'> {
  /** 'length' also where a call was cut. */
  readonly finish: AnswerEnd['finish'] | 'tool_calls'
  /** Those of the new tokens with which the model thought, marks included. */
  readonly reasoningTokens: number
}

export interface ReplyOptions extends AnswerOptions {
  /** Default: all of it is text. */
  readonly parser?: ReplyParser | undefined
}

/** @throws AppError as answer() does */
export async function* reply(
  model: Lender,
  prompt: readonly number[],
  options: ReplyOptions
): AsyncGenerator<ReplyEvent, ReplyEnd> {
  const { parser = PLAIN, ...rest } = options
  const pieces = answer(model, prompt, rest)
  let logProbs: DrawnLogProb[] = []
  let isCalling = false
  let tokens = 0
  let reasoningTokens = 0
  const take = (deltas: readonly ReplyDelta[]): ReplyEvent[] =>
    deltas.map((delta) => {
      isCalling ||= delta.type === 'tool-start'
      const event = { ...delta, logProbs }
      logProbs = []
      return event
    })
  try {
    for (;;) {
      const step = await pieces.next()
      const wasThinking = parser.isThinking
      if (step.done) {
        yield* take(parser.end())
        const { finish, newTokens } = step.value
        if (wasThinking) reasoningTokens += newTokens - tokens
        return {
          ...step.value,
          finish: isCalling && finish === 'stop' ? 'tool_calls' : finish,
          reasoningTokens
        }
      }
      logProbs.push(...step.value.logProbs)
      const deltas = parser.push(step.value.text)
      tokens += step.value.tokens
      if (wasThinking || parser.isThinking) reasoningTokens += step.value.tokens
      yield* take(deltas)
    }
  } finally {
    await pieces.return(NOTHING)
  }
}

const PLAIN: ReplyParser = {
  isThinking: false,
  push: (text) => (text === '' ? [] : [{ type: 'text', text }]),
  end: () => []
}

/** What a generator that is ended early is given; nobody sees it. */
const NOTHING = {} as AnswerEnd
