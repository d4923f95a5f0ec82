// Models that are opened when they are first asked for and closed when nobody has asked for long.
// Knows no HTTP.
import { systemClock, type Clock } from '../base/clock.ts'
import { notFound } from '../base/errors.ts'
import { Resource } from '../base/resource.ts'
import type { TextModel } from './text/text-model.ts'

export interface ModelPoolOptions {
  /** As users name them. */
  readonly names: readonly string[]
  readonly open: (name: string) => Promise<TextModel>
  /** Time without a request after which a model is closed, ms. Default 15 minutes. */
  readonly idleMs?: number
  readonly clock?: Clock
}

interface Pooled {
  readonly opening: Promise<TextModel>
  stopTimer: () => void
}

const IDLE_MS = 15 * 60_000

export class ModelPool extends Resource {
  readonly names: readonly string[]
  readonly #options: ModelPoolOptions
  readonly #clock: Clock
  readonly #open = new Map<string, Pooled>()
  /** Those that are being closed. */
  readonly #closing = new Set<Promise<void>>()

  constructor(options: ModelPoolOptions) {
    super()
    this.names = options.names
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Models that are open now. */
  async models(): Promise<TextModel[]> {
    const settled = await Promise.allSettled([...this.#open.values()].map((one) => one.opening))
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }

  /**
   * The model, opened if it is not. One opening serves all who ask meanwhile.
   * @throws AppError NOT_FOUND for a name that is not offered, or what opening throws
   */
  async take(name: string): Promise<TextModel> {
    if (!this.names.includes(name)) {
      throw notFound(`The model '${name}' is not offered here`, {
        hint: `Use one of ${this.names.join(', ')}`
      })
    }
    const pooled = this.#open.get(name) ?? this.#shelve(name)
    const model = await pooled.opening
    this.#watch(name, pooled)
    return model
  }

  #shelve(name: string): Pooled {
    const opening = this.#options.open(name)
    const pooled: Pooled = { opening, stopTimer: () => {} }
    this.#open.set(name, pooled)
    // What failed to open is tried again by the next who asks.
    opening.catch(() => {
      if (this.#open.get(name) === pooled) this.#open.delete(name)
    })
    return pooled
  }

  /** Closes the model when it has rested for long; each request begins that time anew. */
  #watch(name: string, pooled: Pooled): void {
    const { idleMs = IDLE_MS } = this.#options
    pooled.stopTimer()
    pooled.stopTimer = this.#clock.after(
      idleMs,
      () => {
        void pooled.opening.then((model) => {
          if (model.isInUse) return this.#watch(name, pooled)
          if (this.#open.get(name) !== pooled) return
          this.#open.delete(name)
          const closing = model.close().finally(() => this.#closing.delete(closing))
          this.#closing.add(closing)
          closing.catch(() => {})
        })
      },
      true
    )
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    const pooled = [...this.#open.values()]
    this.#open.clear()
    await Promise.allSettled([
      ...this.#closing,
      ...pooled.map(async ({ opening, stopTimer }) => {
        stopTimer()
        await (await opening).close()
      })
    ])
  }
}
