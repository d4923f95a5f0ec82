// What all chat endpoints make of a request: a prompt by the model's template, and options for each
// answer, made anew since parsers and penalties have state. Knows no endpoint's own words.
import { encodeChat } from '../../model/text/chat-ids.ts'
import type { ChatMessage, ChatOptions } from '../../model/text/chat-template.ts'
import { createReplyParser } from '../../client/text/reply/parser.ts'
import { callConstraint } from '../../library/grammar/call-constraint.ts'
import type { Constraint } from '../../library/grammar/constraint.ts'
import type { ReplyOptions } from '../../library/text/reply.ts'
import type { TextModel } from '../../library/text/text-model.ts'
import { PromptTooLong } from '../../model/text/tokenizer.ts'
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
  readonly options: () => ReplyOptions
}

export interface EndpointContext {
  readonly model: TextModel
  /** Wall clock, seconds. */
  readonly created: number
  readonly abort: AbortController
  /** A fresh id with this prefix. */
  readonly newId: (prefix: string) => string
}

/** @throws RequestError, AppError BAD_INPUT when the template refuses the messages */
export function chatRequest(input: ChatInput, { model, newId }: EndpointContext): ChatRequest {
  const { messages, use, variables, documents } = input
  const { local, format } = model
  const tools = use.choice === 'none' ? [] : use.tools
  if (tools.length > 0 && !format.calls && !format.template) {
    throw new RequestError("This model's chat template has no place for tools", {
      code: 'unsupported_parameter',
      param: 'tools'
    })
  }
  const told = templateTools(use)
  const template: ChatOptions = {
    ...(told.length > 0 ? { tools: told } : {}),
    ...(documents ? { documents } : {}),
    ...(variables ? { variables } : {})
  }
  const prompt = withinContext(() => encodeChat(local.model, local.tokenizer, messages, template))
  checkLength(prompt, local.config.contextLength)
  const constraint = constraintOf(input, model)
  const compiled = constraint && model.constraints.compile(constraint)
  const end = local.tokenizer.decode(prompt.slice(-PROMPT_END), { skipSpecial: false })
  // What cannot be used is told before the answer begins.
  input.options()
  return {
    prompt,
    options() {
      const options = input.options()
      return {
        ...options,
        ...(format.shown.length > 0 ? { shown: format.shown } : {}),
        parser: createReplyParser({ format, tools, prompt: end, newId: () => newId('call') }),
        processors: [...(options.processors ?? []), ...(compiled ? [compiled.processor()] : [])]
      }
    }
  }
}

/** Tokens at a prompt's end in which thinking may have been opened. */
const PROMPT_END = 16

/** @throws RequestError for two that contradict each other */
function constraintOf({ use, constraint }: ChatInput, model: TextModel): Constraint | undefined {
  const { choice, tools, parallel } = use
  if (choice === 'auto' || choice === 'none') return constraint
  if (constraint) {
    throw new RequestError("A call that must be and 'response_format' exclude each other", {
      param: 'tool_choice'
    })
  }
  const wanted =
    typeof choice === 'object' ? tools.filter(({ name }) => name === choice.name) : tools
  return callConstraint(model.format, { tools: wanted, parallel })
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
