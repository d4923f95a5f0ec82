// What an answer is made with: a model's client side, and sessions over the swarm. Knows no HTTP.
import { Resource } from '../../base/resource.ts'
import { commonPrefix, type Generator } from '../../client/text/generate.ts'
import type { LocalModel } from '../../client/text/local-model.ts'

/** A generator with the session under it. */
export interface OwnedGenerator {
  readonly generator: Generator
  close(): Promise<void>
}

export interface TextModelOptions {
  /** As users name it. */
  readonly id: string
  readonly local: LocalModel
  /** Opens a session over the swarm. */
  readonly open: () => Promise<OwnedGenerator>
  /** Sessions that are kept between answers, for prompts that begin alike. Default 4. */
  readonly idle?: number
  /** Closed last. */
  readonly onclose?: () => Promise<void>
}

/** A generator that is lent for one answer. */
export interface Borrowed extends AsyncDisposable {
  readonly generator: Generator
  /** The answer failed: its session is not used again. */
  spoil(): void
}

export class TextModel extends Resource {
  readonly id: string
  readonly local: LocalModel
  /** Answers under way. */
  active = 0
  readonly #options: TextModelOptions
  /** The one used last is at the end. */
  readonly #idle: OwnedGenerator[] = []

  constructor(options: TextModelOptions) {
    super()
    this.id = options.id
    this.local = options.local
    this.#options = options
  }

  /** Lends the idle session that shares most with `prompt`, else a new one. */
  async borrow(prompt: readonly number[]): Promise<Borrowed> {
    this.active++
    try {
      const owned = this.#takeBest(prompt) ?? (await this.#options.open())
      let spoilt = false
      return {
        generator: owned.generator,
        spoil: () => void (spoilt = true),
        [Symbol.asyncDispose]: async () => {
          this.active--
          await this.#giveBack(owned, spoilt || this.closing)
        }
      }
    } catch (error) {
      this.active--
      throw error
    }
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
    return this.#idle.splice(best, best < 0 ? 0 : 1)[0]
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
    await Promise.allSettled(this.#idle.splice(0).map((one) => one.close()))
    await this.#options.onclose?.()
  }
}
