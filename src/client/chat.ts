// A conversation: messages to ids by the model's template, answers back into messages.
// The whole conversation is rendered each turn; the generator sends only what is new of it.
import { encodeChat } from '../model/chat-ids.ts'
import type { ChatMessage } from '../model/chat-template.ts'
import type { GeneratedToken, GenerateOptions, GenerationStats, Generator } from './generate.ts'
import type { LocalModel } from './local-model.ts'

export interface ChatOptions {
  /** Instructions that stand before the first question. */
  system?: string | undefined
}

export class Chat {
  readonly messages: ChatMessage[] = []
  readonly #generator: Generator
  readonly #model: LocalModel
  readonly #system: string | undefined

  constructor(model: LocalModel, generator: Generator, options: ChatOptions = {}) {
    this.#model = model
    this.#generator = generator
    this.#system = options.system
    this.reset()
  }

  /** Forgets the conversation; the next turn starts from the system message. */
  reset(): void {
    this.messages.length = 0
    if (this.#system !== undefined) this.messages.push({ role: 'system', content: this.#system })
  }

  /** Goes on with a conversation of before; the next turn feeds all of it. */
  resume(messages: readonly ChatMessage[]): void {
    if (messages.length > 0) this.messages.splice(0, this.messages.length, ...messages)
  }

  /**
   * Asks, streams the answer, and remembers both. A turn that fails or is cancelled is forgotten
   * with what was said of it, so that it can be asked again.
   */
  async *ask(
    question: string,
    options: GenerateOptions = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const before = this.messages.length
    this.messages.push({ role: 'user', content: question })
    let answer = ''
    let finished = false
    try {
      const { model, tokenizer } = this.#model
      const prompt = encodeChat(model, tokenizer, this.messages)
      const answering = this.#generator.generate(prompt, options)
      for (;;) {
        const step = await answering.next()
        if (step.done) {
          finished = true
          return step.value
        }
        answer += step.value.text
        yield step.value
      }
    } finally {
      if (finished) this.messages.push({ role: 'assistant', content: answer })
      else this.messages.length = before
    }
  }
}

/** A raw prompt as ids: with the model's beginning, without a template; special tokens may be spelled out. */
export function rawPrompt(model: LocalModel, text: string): number[] {
  return model.tokenizer.encode(text, { addSpecial: true, parseSpecial: true })
}
