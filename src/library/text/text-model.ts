// What an answer is made with: a model's client side, and sessions over the swarm. Knows no HTTP.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { closed, unsupported } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import { commonPrefix } from '../../client/text/generate.ts'
import { replyFormat } from '../../client/text/reply/formats.ts'
import type { ReplyFormat } from '../../client/text/reply/types.ts'
import { SessionAdapters, type WeightedPack } from '../../client/session/session-adapters.ts'
import type { LocalModel } from '../../client/text/local-model.ts'
import { Constraints } from '../grammar/constraint.ts'
import type { AnswerEnd } from './answer-end.ts'
import { Conversation, type ConversationOptions } from './conversation.ts'
import type { OwnedGenerator, RouteNews, SessionWishes } from './owned-generator.ts'
import { Turns } from './turns.ts'
import type { TrainAccess } from '../training/train-access.ts'

export type { RouteNews }

/** What a conversation is opened with. */
export interface ConverseOptions
  extends SessionWishes, Pick<ConversationOptions, 'system' | 'resume'> {
  /** Told of fail-overs. */
  readonly onnews?: ((news: RouteNews) => void) | undefined
}

/** Who may compute blocks now. */
export interface BlocksNow {
  /** Servers known to the client, without this process. */
  readonly servers: number
  /** Blocks that this process computes. */
  readonly here: readonly BlockSpan[]
  /** Those of them that no server is asked for. */
  readonly kept: BlockSpan | undefined
}

export interface TextModelOptions {
  /** As users name it. */
  readonly id: string
  readonly local: Pick<LocalModel, 'model' | 'config' | 'tokenizer' | 'eosIds' | 'ready'>
  /** Opens a session over the swarm. */
  readonly open: (wishes?: SessionWishes) => Promise<OwnedGenerator>
  /** Opens adapters by their names. Default: there are none. */
  readonly adapt?: (names: readonly string[]) => Promise<readonly WeightedPack[]>
  /** Who may compute its blocks now. Default: it is not known. */
  readonly blocks?: () => BlocksNow
  /** Opens what a training stands on. Default: the model cannot be trained. */
  readonly openTraining?: () => TrainAccess
  /** Answers at once; more wait for their turn, the first come first. Default 16. */
  readonly parallel?: number
  /** Sessions that are kept between answers, for prompts that begin alike. Default 4. */
  readonly idle?: number
  /** Content ids of what its sessions run with, and what each counts. */
  readonly adapters?: readonly string[]
  /** Closed last. */
  readonly onclose?: () => Promise<void>
}

/** A generator that is lent for one answer. */
export interface Borrowed extends AsyncDisposable, Pick<OwnedGenerator, 'generator' | 'route'> {
  /** The answer failed: its session is not used again. */
  spoil(): void
  /**
   * Servers took no session for the answer. Whether it is worth borrowing again, when others have
   * given one back. Default: it is not.
   */
  refused?(): boolean
}

export interface BorrowOptions {
  readonly signal?: AbortSignal | undefined
  readonly onnews?: ((news: RouteNews) => void) | undefined
  /** The answer was refused before: it goes before those that were not. */
  readonly isAgain?: boolean
}

/** Hears of all answers of a model. */
export interface AnswerListener {
  answered(end: AnswerEnd): void
  news(news: RouteNews): void
}

/** What an answer is made on: a model, or a session that goes on. */
export interface Lender {
  /**
   * Lends the generator that suits `prompt` best, when it is this answer's turn.
   * @throws AppError CANCELLED, CLOSED, or what opening a session throws
   */
  borrow(prompt: readonly number[], options?: BorrowOptions): Promise<Borrowed>
  readonly listener?: AnswerListener | undefined
}

/** Tokens that a new session must save over an idle one: opening it takes a trip to the servers. */
const WORTH_OPENING = 32

export class TextModel extends Resource implements Lender {
  readonly id: string
  readonly local: TextModelOptions['local']
  /** How its answers are written. */
  readonly format: ReplyFormat
  /** What answers may be held to. */
  readonly constraints: Constraints
  /** Hears of its answers. Default: nobody. */
  listener: AnswerListener | undefined
  readonly #options: TextModelOptions
  /** The one used last is at the end. */
  readonly #idle: OwnedGenerator[] = []
  readonly #lent = new Set<OwnedGenerator>()
  readonly #turns: Turns
  /** Models of this one with adapters that are open. */
  readonly #variants = new Set<TextModel>()

  constructor(options: TextModelOptions) {
    super()
    this.id = options.id
    this.local = options.local
    const { model, config } = options.local
    this.format = replyFormat(model)
    this.constraints = new Constraints(model.tokenizer, config.vocabSize)
    this.#options = options
    this.#turns = new Turns(this.#parallel)
  }

  /** What a training stands on. @throws AppError UNSUPPORTED, DENIED */
  openTraining(): TrainAccess {
    const { openTraining } = this.#options
    if (openTraining === undefined) throw unsupported('The model cannot be trained here')
    return openTraining()
  }

  /** Answers under way. */
  get active(): number {
    return this.#turns.active
  }

  /** Whether it must stay open: it answers, or another model stands on it. */
  get isInUse(): boolean {
    return this.active > 0 || this.waiting > 0 || this.#variants.size > 0
  }

  /** Names of its adapters and what each counts, for what is kept of its answers. */
  get adapters(): readonly string[] {
    return this.#options.adapters ?? []
  }

  /** Answers that wait for their turn. */
  get waiting(): number {
    return this.#turns.waiting
  }

  /**
   * Lends the idle session that shares most with `prompt`, when it is this answer's turn; a new one
   * if there is none, or if a session that is lent shares more: servers give a new session what
   * they hold of another that begins alike.
   * @throws AppError CANCELLED, CLOSED, or what opening a session throws
   */
  async borrow(prompt: readonly number[], options: BorrowOptions = {}): Promise<Borrowed> {
    const { signal, onnews, isAgain } = options
    if (this.closing) throw closed('The model is closed')
    await this.#turns.take(signal, isAgain)
    try {
      const owned = this.#takeBest(prompt) ?? (await this.#openAnother())
      this.#lent.add(owned)
      owned.onnews = (news) => {
        this.listener?.news(news)
        onnews?.(news)
      }
      let spoilt = false
      return {
        generator: owned.generator,
        route: () => owned.route(),
        spoil: () => void (spoilt = true),
        refused: () => this.#turns.refuse(),
        [Symbol.asyncDispose]: async () => {
          owned.onnews = () => {}
          this.#lent.delete(owned)
          this.#turns.leave()
          await this.#giveBack(owned, spoilt || this.closing)
        }
      }
    } catch (error) {
      this.#turns.leave()
      throw error
    }
  }

  /**
   * A conversation over a session of its own, which waits for nobody's turn; the caller closes it,
   * before this.
   * @throws AppError as opening a session does
   */
  async converse(options: ConverseOptions = {}): Promise<Conversation> {
    const { system, resume, onnews, ...wishes } = options
    const { local, constraints } = this
    const owned = await this.#options.open(wishes)
    owned.onnews = (news) => {
      this.listener?.news(news)
      onnews?.(news)
    }
    return new Conversation({ local, owned, constraints, system, resume })
  }

  /**
   * This model with adapters: `folder`, `file.gguf`, `owner/name` or a content id, each with
   * `:weight` behind it or not. The caller closes it, before this.
   * @throws AppError NOT_FOUND, BAD_INPUT, UNSUPPORTED for what cannot be applied
   */
  async withAdapters(id: string, names: readonly string[]): Promise<TextModel> {
    const { adapt, open } = this.#options
    if (adapt === undefined) throw unsupported(`'${this.id}' cannot run with adapters`)
    const adapters = await adapt(names)
    const { wire } = new SessionAdapters(adapters)
    const variant: TextModel = new TextModel({
      ...this.#options,
      id,
      adapters: wire.map((one) => `${toHex(one.id)} ${one.weight}`),
      open: (wishes) => open({ ...wishes, adapters }),
      onclose: async () => void this.#variants.delete(variant)
    })
    this.#variants.add(variant)
    return variant
  }

  /** Who may compute its blocks now. */
  get blocks(): BlocksNow {
    return this.#options.blocks?.() ?? { servers: 0, here: [], kept: undefined }
  }

  #takeBest(prompt: readonly number[]): OwnedGenerator | undefined {
    let best = -1
    let most = 0
    for (const [index, { generator }] of this.#idle.entries()) {
      const shared = commonPrefix(generator.fed, prompt)
      if (best >= 0 && shared < most) continue
      best = index
      most = shared
    }
    for (const { generator } of this.#lent) {
      if (commonPrefix(generator.fed, prompt) >= most + WORTH_OPENING) return undefined
    }
    return best < 0 ? undefined : this.#idle.splice(best, 1)[0]
  }

  /** Those that are idle count at the servers too: no more are open than may answer. */
  async #openAnother(): Promise<OwnedGenerator> {
    if (this.#lent.size + this.#idle.length >= this.#parallel) await this.#idle.shift()?.close()
    return this.#options.open()
  }

  get #parallel(): number {
    return this.#options.parallel ?? 16
  }

  async #giveBack(owned: OwnedGenerator, isSpoilt: boolean): Promise<void> {
    if (isSpoilt) return owned.close()
    this.#idle.push(owned)
    const { idle = 4 } = this.#options
    if (this.#idle.length > idle) await this.#idle.shift()?.close()
  }

  protected override async _open(): Promise<void> {
    await this.local.ready()
  }

  protected override async _close(): Promise<void> {
    this.#turns.end()
    await Promise.allSettled([...this.#variants].map((one) => one.close()))
    await Promise.allSettled(this.#idle.splice(0).map((one) => one.close()))
    await this.#options.onclose?.()
  }
}
