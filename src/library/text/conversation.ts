// A conversation: messages to ids by the model's template, and answers back to messages. The whole
// conversation is rendered each turn; the generator sends only what is new. What save() gives is
// gone on with in another process, after an interruption or as a branch of its own.
import { badInput } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import type { RouteHop } from '../../client/route/route.ts'
import {
  checkPrompt,
  commonPrefix,
  type GeneratedToken,
  type GenerateOptions,
  type GenerationStats
} from '../../client/text/generate.ts'
import type { LocalModel } from '../../client/text/local-model.ts'
import type { LogitsProcessor } from '../../client/text/logits.ts'
import { resolveSampling, type Sampling } from '../../client/text/sampler.ts'
import { encodeChat } from '../../model/text/chat-ids.ts'
import type { ChatMessage } from '../../model/text/chat-template.ts'
import type { Constraint, Constraints } from '../grammar/constraint.ts'
import type { OwnedGenerator } from './owned-generator.ts'

/** What a conversation needs of the client's own part of a model. */
export type ChatModel = Pick<LocalModel, 'model' | 'tokenizer'>

export interface ConversationOptions {
  readonly local: ChatModel
  /** The conversation closes it. */
  readonly owned: OwnedGenerator
  readonly constraints: Pick<Constraints, 'compile'>
  /** Instructions before the first question. */
  readonly system?: string | undefined
  /** What another conversation's save() gave, of the same model. */
  readonly resume?: SavedConversation | undefined
}

/** A conversation as it can be kept: all of it survives JSON. */
export interface SavedConversation {
  readonly messages: readonly ChatMessage[]
  /** The last answer, if it was interrupted. */
  readonly unfinished?: Unfinished | undefined
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
  /** What the answer is held to. */
  readonly constraint?: Constraint | undefined
}

export interface AskOptions extends GenerateOptions {
  /** The question is plain text, and neither it nor its answer becomes part of the conversation. */
  readonly raw?: boolean
  /** What the answer is held to. */
  readonly constraint?: Constraint | undefined
}

export type Answering = AsyncGenerator<GeneratedToken, GenerationStats>

export class Conversation extends Resource {
  readonly messages: ChatMessage[] = []
  readonly #options: ConversationOptions
  #system: string | undefined
  #unfinished: (Unfinished & { readonly ids: number[] }) | undefined

  /** It may be used at once; ready() has nothing to wait for. */
  constructor(options: ConversationOptions) {
    super()
    this.#options = options
    this.#system = options.system
    this.reset()
    if (options.resume) this.resume(options.resume)
  }

  /** What the last answer took, or takes so far. */
  get stats(): GenerationStats {
    return this.#options.owned.generator.stats
  }

  /** Which servers compute which blocks now; none before the first answer. */
  get route(): readonly RouteHop[] {
    return this.#options.owned.route()
  }

  /** Number of times that servers were replaced or opened again. */
  get reroutes(): number {
    return this.#options.owned.reroutes?.() ?? 0
  }

  /** Tokens that the servers hold of it. */
  get usedTokens(): number {
    return this.#options.owned.generator.fed.length
  }

  /** All of it, for another conversation's `resume`; later turns do not change it. */
  save(): SavedConversation {
    const unfinished = this.#unfinished && { ...this.#unfinished, ids: [...this.#unfinished.ids] }
    return { messages: [...this.messages], unfinished }
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

  /** Goes on with an earlier conversation; the next turn feeds all of it. */
  resume({ messages, unfinished }: SavedConversation): void {
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
   * @throws AppError BAD_INPUT for a question that does not fit, or a constraint that cannot be
   * held
   */
  ask(question: string, options: AskOptions = {}): Answering {
    const { local, constraints } = this.#options
    const { model, tokenizer } = local
    const { raw = false, constraint } = options
    const messages = [...this.messages, { role: 'user', content: question }]
    const prompt = raw ? rawPrompt(local, question) : encodeChat(model, tokenizer, messages)
    const hasPast = !raw && this.messages.some(({ role }) => role === 'user')
    // Checked first: an answer that cannot begin is none to continue.
    checkPrompt(prompt, model.config.contextLength, hasPast)
    if (constraint) constraints.compile(constraint)
    this.#unfinished = {
      question,
      raw,
      prompt,
      ids: [],
      sampling: resolveSampling(options),
      maxTokens: options.maxTokens,
      ...(constraint ? { constraint } : {})
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
  ): Answering {
    const unfinished = this.#unfinished
    if (!unfinished) throw badInput('There is no interrupted answer to go on with')
    const { owned } = this.#options
    const { generator } = owned
    const { question, raw, prompt, ids, sampling, maxTokens } = unfinished
    const { signal, speculate, onprompt, processors = [] } = options
    const made = [...ids]
    const answering = generator.generate(prompt, {
      ...sampling,
      made,
      signal,
      onprompt,
      processors: [...processors, ...this.#holding(unfinished)],
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
        if (isNew && ids.length < made.length + generator.stats.newTokens) {
          ids.push(step.value.id)
        }
        yield step.value
      }
    } finally {
      await answering.return(generator.stats)
      await owned.remember?.()
    }
  }

  /** What holds an answer to its constraint, at the place where the answer stands. */
  #holding({ constraint, ids }: Unfinished): LogitsProcessor[] {
    if (!constraint) return []
    const processor = this.#options.constraints.compile(constraint).processor()
    for (const id of ids) processor.drew?.(id, NO_LOGITS)
    return [processor]
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    await this.#options.owned.close()
  }
}

const NO_LOGITS = new Float32Array(0)

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
