// What all chat endpoints make of a request: a prompt by the model's template, and options for each
// answer, made anew since parsers and penalties have state. Knows no endpoint's own words.
import { encodeChat } from '../../model/text/chat-ids.ts'
import type { ChatMessage, ChatOptions } from '../../model/text/chat-template.ts'
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
export function chatRequest(input: ChatInput, { model }: EndpointContext): ChatRequest {
  const { messages, use, variables, documents } = input
  const { local } = model
  const tools = templateTools(use)
  const template: ChatOptions = {
    ...(tools.length > 0 ? { tools } : {}),
    ...(documents ? { documents } : {}),
    ...(variables ? { variables } : {})
  }
  const prompt = withinContext(() => encodeChat(local.model, local.tokenizer, messages, template))
  checkLength(prompt, local.config.contextLength)
  // What cannot be used is told before the answer begins.
  input.options()
  return { prompt, options: input.options }
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
