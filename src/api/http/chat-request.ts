// What all chat endpoints make of a request: a prompt by the model's template, and options for each
// answer, made anew since parsers and penalties have state. Knows no endpoint's own words.
import { encodeChat } from '../../model/text/chat-ids.ts'
import type { ChatMessage, ChatOptions } from '../../model/text/chat-template.ts'
import { FORCED_CALLS } from '../../client/text/reply/formats.ts'
import { createReplyParser } from '../../client/text/reply/parser.ts'
import type { ReplyFormat } from '../../client/text/reply/types.ts'
import { callConstraint } from '../../library/grammar/call-constraint.ts'
import type { Constraint } from '../../library/grammar/constraint.ts'
import type { ReplyOptions } from '../../library/text/reply.ts'
import { PromptTooLong } from '../../model/text/tokenizer.ts'
import type { EndpointContext } from './endpoint.ts'
import { RequestError } from './errors.ts'
import { templateTools, type ToolUse } from './tools.ts'

export interface ChatInput {
  readonly messages: readonly ChatMessage[]
  readonly use: ToolUse
  /** Other names that the template may ask for, e.g. enable_thinking. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined
  readonly documents?: readonly object[] | undefined
  /** What the answer must be; calls of tools that must be are not among it. */
  readonly constraint?: Constraint | undefined
  /** Sampling and limits of one answer. */
  readonly options: () => ReplyOptions
}

export interface ChatRequest {
  readonly prompt: readonly number[]
  /** Options of one answer: of several, each has its number. */
  readonly options: (choice?: number) => ReplyOptions
}

/** @throws RequestError, AppError BAD_INPUT when the template refuses the messages */
export function chatRequest(input: ChatInput, { model, newId }: EndpointContext): ChatRequest {
  const { messages, use, variables, documents } = input
  const { local } = model
  const tools = use.choice === 'none' ? [] : use.tools
  const mustCall = use.choice !== 'auto' && use.choice !== 'none'
  const format = mustCall && !model.format.calls ? FORCED_CALLS : model.format
  const told = templateTools(use)
  const template: ChatOptions = {
    ...(told.length > 0 ? { tools: told, toolsInWords: format.toolsInWords ?? false } : {}),
    ...(documents ? { documents } : {}),
    ...(variables ? { variables } : {})
  }
  const prompt = withinContext(() => encodeChat(local.model, local.tokenizer, messages, template))
  checkLength(prompt, local.config.contextLength)
  const constraint = constraintOf(input, format)
  const compiled = constraint && model.constraints.compile(constraint)
  const end = local.tokenizer.decode(prompt.slice(-PROMPT_END), { skipSpecial: false })
  // What cannot be used is told before the answer begins.
  input.options()
  return {
    prompt,
    options(choice = 0) {
      const options = input.options()
      return {
        ...options,
        ...seedOf(options, choice),
        ...(format.shown.length > 0 ? { shown: format.shown } : {}),
        parser: createReplyParser({ format, tools, prompt: end, newId: () => newId('call') }),
        processors: [...(options.processors ?? []), ...(compiled ? [compiled.processor()] : [])]
      }
    }
  }
}

/** Each of several answers draws with a seed of its own, the first with the one that was given. */
export function seedOf({ seed }: Pick<ReplyOptions, 'seed'>, choice: number): { seed?: number } {
  return seed === undefined ? {} : { seed: seed + choice }
}

/** Tokens at a prompt's end in which thinking may have been opened. */
const PROMPT_END = 16

/** @throws RequestError for two that contradict each other */
function constraintOf({ use, constraint }: ChatInput, format: ReplyFormat): Constraint | undefined {
  const { choice, tools, parallel } = use
  if (choice === 'auto' || choice === 'none') return constraint
  if (constraint) {
    throw new RequestError("A call that must be and 'response_format' exclude each other", {
      param: 'tool_choice'
    })
  }
  const wanted =
    typeof choice === 'object' ? tools.filter(({ name }) => name === choice.name) : tools
  return callConstraint(format, { tools: wanted, parallel })
}

/** @throws RequestError context_length_exceeded where encoding itself finds a prompt too long */
export function withinContext<T>(encode: () => T): T {
  try {
    return encode()
  } catch (error) {
    if (error instanceof PromptTooLong) throw tooLong(error.mostTokens + 1, error.mostTokens)
    throw error
  }
}

/** @throws RequestError context_length_exceeded */
export function checkLength(prompt: readonly number[], contextLength: number): void {
  if (prompt.length >= contextLength) throw tooLong(prompt.length, contextLength)
}

/** As clients know it. */
function tooLong(tokens: number, contextLength: number): RequestError {
  return new RequestError(
    `The prompt has ${tokens} tokens or more, the model's context is ${contextLength}`,
    {
      code: 'context_length_exceeded',
      param: 'messages',
      details: { n_prompt_tokens: tokens, n_ctx: contextLength }
    }
  )
}
