// A conversation: messages to ids by the model's template, answers back into messages.
// The whole conversation is rendered each turn; the generator sends only what is new of it.
import { badInput } from '../../base/errors.ts'
import { encodeChat } from '../../model/text/chat-ids.ts'
import type { ChatMessage } from '../../model/text/chat-template.ts'
import {
  checkPrompt,
  commonPrefix,
  type GeneratedToken,
  type GenerateOptions,
  type GenerationStats,
  type Generator
} from './generate.ts'
import type { LocalModel } from './local-model.ts'
import { resolveSampling, type Sampling } from './sampler.ts'

/** What a conversation needs of the client's own part of a model. */
export type ChatModel = Pick<LocalModel, 'model' | 'tokenizer'>

export interface ChatOptions {
  /** Instructions that stand before the first question. */
  system?: string | undefined
}

/** An answer that has not ended: all it takes to go on with it, id for id, in another process. */
export interface Unfinished {
  readonly question: string
  /** The prompt as it is, of no conversation. */
  readonly raw: boolean
  /** Ids before the answer: a template may know the day, so rendering again could differ. */
  readonly prompt: readonly number[]
  /** Ids of the answer so far. */
  readonly ids: readonly number[]
  readonly sampling: Sampling
  /** Of the whole answer. */
  readonly maxTokens: number | undefined
}

export class Chat {
  readonly messages: ChatMessage[] = []
  readonly #generator: Generator
  readonly #model: ChatModel
  #system: string | undefined
  #unfinished: (Unfinished & { readonly ids: number[] }) | undefined

  constructor(model: ChatModel, generator: Generator, options: ChatOptions = {}) {
    this.#model = model
    this.#generator = generator
    this.#system = options.system
    this.reset()
  }

  /** The answer that is under way, or was the last and did not come to its end. */
  get unfinished(): Unfinished | undefined {
    return this.#unfinished
  }

  /** Forgets the conversation; the next turn starts from the system message. */
  reset(): void {
    this.#unfinished = undefined
    this.messages.length = 0
    if (this.#system !== undefined) this.messages.push({ role: 'system', content: this.#system })
  }

  /** Goes on with a conversation of before; the next turn feeds all of it. */
  resume(messages: readonly ChatMessage[], unfinished?: Unfinished): void {
    if (messages.length > 0) this.messages.splice(0, this.messages.length, ...messages)
    this.#unfinished = unfinished && { ...unfinished, ids: [...unfinished.ids] }
  }

  /**
   * Other instructions from here on, also for what was said before; the next turn feeds all of it.
   */
  setSystem(text: string): void {
    this.#system = text
    const message = { role: 'system', content: text }
    const has = this.messages[0]?.role === 'system'
    this.messages.splice(0, has ? 1 : 0, message)
  }

  /**
   * Takes back the last question and its answer, or a question without one; what was asked, if
   * anything.
   */
  undo(): string | undefined {
    const unfinished = this.#unfinished?.question
    this.#unfinished = undefined
    if (unfinished !== undefined) return unfinished
    const at = this.messages.findLastIndex(({ role }) => role === 'user')
    return at < 0 ? undefined : this.messages.splice(at)[0]?.content
  }

  /**
   * Asks, streams the answer, and remembers both. A turn that fails or is cancelled is left out of
   * the messages, so that it can be asked again, or gone on with.
   */
  ask(
    question: string,
    options: GenerateOptions & { raw?: boolean } = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const { model, tokenizer } = this.#model
    const raw = options.raw === true
    const messages = [...this.messages, { role: 'user', content: question }]
    const prompt = raw ? rawPrompt(this.#model, question) : encodeChat(model, tokenizer, messages)
    const hasPast = !raw && this.messages.some(({ role }) => role === 'user')
    // Before it is kept: an answer that cannot begin is none to go on with.
    checkPrompt(prompt, model.config.contextLength, hasPast)
    this.#unfinished = {
      question,
      raw,
      prompt,
      ids: [],
      sampling: resolveSampling(options),
      maxTokens: options.maxTokens
    }
    return this.goOn(options)
  }

  /**
   * The whole of the unfinished answer, from its first word: what was made before, then the rest,
   * as it would have come without the interruption. @throws AppError BAD_INPUT when there is none
   */
  async *goOn(
    options: Pick<GenerateOptions, 'signal' | 'speculate' | 'onprompt'> = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const unfinished = this.#unfinished
    if (!unfinished) throw badInput('There is no interrupted answer to go on with')
    const { question, raw, prompt, ids, sampling, maxTokens } = unfinished
    const { signal, speculate, onprompt } = options
    const made = [...ids]
    const answering = this.#generator.generate(prompt, {
      ...sampling,
      made,
      signal,
      onprompt,
      ...(speculate === undefined ? {} : { speculate }),
      ...(maxTokens === undefined ? {} : { maxTokens })
    })
    let answer = ''
    let given = 0
    try {
      for (;;) {
        const step = await answering.next()
        if (step.done) {
          if (!raw) {
            this.messages.push({ role: 'user', content: question })
            this.messages.push({ role: 'assistant', content: answer })
          }
          if (this.#unfinished === unfinished) this.#unfinished = undefined
          return step.value
        }
        answer += step.value.text
        // The last piece of text may come without an id of its own.
        const isNew = ++given > made.length
        if (isNew && ids.length < made.length + this.#generator.stats.newTokens) {
          ids.push(step.value.id)
        }
        yield step.value
      }
    } finally {
      await answering.return(this.#generator.stats)
    }
  }
}

/** Tokens that every conversation with these instructions begins with, whatever is asked. */
export function systemTokens(chat: ChatModel, system: string): number {
  const [a = [], b = []] = ['a', 'b'].map((content) => {
    const messages = [
      { role: 'system', content: system },
      { role: 'user', content }
    ]
    return encodeChat(chat.model, chat.tokenizer, messages)
  })
  return commonPrefix(a, b)
}

/**
 * A raw prompt as ids: with the model's beginning, without a template; special tokens may be
 * spelled out.
 */
function rawPrompt({ model, tokenizer }: ChatModel, text: string): number[] {
  const { contextLength: maxTokens } = model.config
  return tokenizer.encode(text, { addSpecial: true, parseSpecial: true, maxTokens })
}
