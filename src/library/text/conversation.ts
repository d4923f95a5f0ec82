// A conversation: messages to ids by the model's template, and answers back to messages. The whole
// conversation is rendered each turn; the generator sends only what is new.
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
  /** Instructions before the first question. */
  system?: string | undefined
}

/**
 * An answer that has not ended, with everything needed to continue it, id for id, in another
 * process.
 */
export interface Unfinished {
  readonly question: string
  /** The prompt is plain text and not part of a conversation. */
  readonly raw: boolean
  /**
   * Ids before the answer. They are kept because a template may contain the date, so rendering
   * again could differ.
   */
  readonly prompt: readonly number[]
  /** Ids of the answer so far. */
  readonly ids: readonly number[]
  readonly sampling: Sampling
  /** Limit of the whole answer. */
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

  /** The answer that is being generated, or the last one if it was not completed. */
  get unfinished(): Unfinished | undefined {
    return this.#unfinished
  }

  /** Drops the conversation; the next turn starts from the system message. */
  reset(): void {
    this.#unfinished = undefined
    this.messages.length = 0
    if (this.#system !== undefined) this.messages.push({ role: 'system', content: this.#system })
  }

  /** Continues an earlier conversation; the next turn feeds all of it. */
  resume(messages: readonly ChatMessage[], unfinished?: Unfinished): void {
    if (messages.length > 0) this.messages.splice(0, this.messages.length, ...messages)
    this.#unfinished = unfinished && { ...unfinished, ids: [...unfinished.ids] }
  }

  /** Replaces the instructions, also for earlier turns; the next turn feeds everything. */
  setSystem(text: string): void {
    this.#system = text
    const message = { role: 'system', content: text }
    const has = this.messages[0]?.role === 'system'
    this.messages.splice(0, has ? 1 : 0, message)
  }

  /**
   * Removes the last question and its answer, or a question without one. Returns the question, if
   * any.
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
   * the messages, so that it can be asked again or continued.
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
    // Checked first: an answer that cannot begin is none to continue.
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
   * The whole of the unfinished answer, from its first word: what was generated before, then the
   * rest, as it would have come without the interruption. @throws AppError BAD_INPUT if there is
   * none
   */
  async *goOn(
    options: Pick<GenerateOptions, 'signal' | 'speculate' | 'onprompt' | 'processors'> = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const unfinished = this.#unfinished
    if (!unfinished) throw badInput('There is no interrupted answer to go on with')
    const { question, raw, prompt, ids, sampling, maxTokens } = unfinished
    const { signal, speculate, onprompt, processors } = options
    const made = [...ids]
    const answering = this.#generator.generate(prompt, {
      ...sampling,
      made,
      signal,
      onprompt,
      ...(processors ? { processors } : {}),
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

/**
 * Number of tokens with which every conversation with these instructions begins, whatever is asked.
 */
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
 * A raw prompt as ids: with BOS if the model wants it, without a template; special tokens may be
 * spelled out.
 */
function rawPrompt({ model, tokenizer }: ChatModel, text: string): number[] {
  const { contextLength: maxTokens } = model.config
  return tokenizer.encode(text, { addSpecial: true, parseSpecial: true, maxTokens })
}
