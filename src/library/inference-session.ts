// A session that a program steps itself: it holds ids, gives logits of new ones, goes back, and can
// be gone on with in another process.
import { badInput } from '../base/errors.ts'
import { Resource } from '../base/resource.ts'
import type { Borrowed, BorrowOptions, Lender, TextModel } from './text/text-model.ts'
import { plainIds, type Ids } from './tokenizer.ts'

/** All that another process needs to go on; survives JSON. */
export interface SavedSession {
  readonly model: string
  readonly ids: readonly number[]
  /** Content ids of its adapters, and what each counts; absent without any. */
  readonly adapters?: readonly string[]
}

export interface InferenceSessionOptions {
  /** Most ids that it may come to hold. Default: the model's context. */
  readonly maxLength?: number | undefined
  /** What save() gave, of the same model. */
  readonly resume?: SavedSession | undefined
}

export class InferenceSession extends Resource implements Lender {
  readonly #model: TextModel
  readonly #maxLength: number
  readonly #ids: number[] = []
  #borrowed: Borrowed | undefined

  /** @throws AppError BAD_INPUT for another model's session, or a length over the context */
  constructor(model: TextModel, options: InferenceSessionOptions = {}) {
    super()
    const { contextLength } = model.local.config
    const { maxLength = contextLength, resume } = options
    if (!Number.isInteger(maxLength) || maxLength < 1 || maxLength > contextLength) {
      throw badInput(`A session of ${maxLength} ids cannot be opened`, {
        hint: `Give a max_length from 1 to ${contextLength}`
      })
    }
    const saved = resume?.ids ?? []
    const isSaved = resume === undefined || Array.isArray(resume.ids)
    if (!isSaved || !saved.every((id) => Number.isInteger(id) && id >= 0)) {
      throw badInput("'resume' is no session that was kept", {
        hint: 'Give what save() of an earlier one gave'
      })
    }
    if (saved.length > maxLength) {
      throw badInput(`The kept session holds ${saved.length} ids, and max_length is ${maxLength}`, {
        hint: 'Give a larger max_length'
      })
    }
    if (resume && resume.model !== model.id) {
      throw badInput(`The session is of '${resume.model}', not of '${model.id}'`)
    }
    if (resume && String(resume.adapters ?? []) !== String(model.adapters)) {
      throw badInput('The session ran with other adapters', { hint: 'Give the same ones' })
    }
    this.#model = model
    this.#maxLength = maxLength
    for (const id of saved) this.#ids.push(id)
  }

  /** Ids that it holds, in order. */
  get ids(): readonly number[] {
    return this.#ids
  }

  /** How many ids it may come to hold. */
  get maxLength(): number {
    return this.#maxLength
  }

  /** How many ids it holds. */
  get position(): number {
    return this.#ids.length
  }

  /**
   * Adds ids; logits behind each of them, (vocabSize) each: the last row says what comes next.
   * @throws AppError BAD_INPUT for none, or more than max_length
   */
  async step(ids: Ids, options: { signal?: AbortSignal } = {}): Promise<Float32Array[]> {
    const fresh = plainIds(ids)
    this.checkRoom(fresh.length)
    if (fresh.length === 0) throw badInput('A step needs at least one id')
    await this.ready()
    const all = [...this.#ids, ...fresh]
    const { signal } = options
    const rows = await this.#open.generator.logits(all, { rows: fresh.length, signal })
    this.#ids.push(...fresh)
    return rows
  }

  /** Forgets all ids from `position` on. @throws AppError BAD_INPUT */
  rollback(position: number): void {
    if (!Number.isInteger(position) || position < 0 || position > this.#ids.length) {
      throw badInput(`The session cannot go back to ${position}: it holds ${this.#ids.length} ids`)
    }
    this.#ids.length = position
  }

  /** What another process can go on with: `inference_session({ resume })`. */
  save(): SavedSession {
    const { id: model, adapters } = this.#model
    const saved = { model, ids: [...this.#ids] }
    return adapters.length === 0 ? saved : { ...saved, adapters }
  }

  /** Lends its own generator, which stays with it. */
  async borrow(prompt: readonly number[], options: BorrowOptions = {}): Promise<Borrowed> {
    this.checkRoom(prompt.length - this.#ids.length)
    options.signal?.throwIfAborted()
    await this.ready()
    const { generator, route } = this.#open
    return { generator, route, spoil: () => {}, [Symbol.asyncDispose]: async () => {} }
  }

  /** The ids are now these: an answer was made on it. */
  keep(ids: readonly number[]): void {
    this.#ids.length = 0
    for (const id of ids) this.#ids.push(id)
  }

  get #open(): Borrowed {
    if (!this.#borrowed) throw badInput('The session is closed')
    return this.#borrowed
  }

  /** @throws AppError BAD_INPUT when so many more ids are too many */
  checkRoom(more: number): void {
    if (this.#ids.length + more <= this.#maxLength) return
    throw badInput(
      `The session holds ${this.#ids.length} ids and takes ${this.#maxLength}: ${more} more are too many`,
      { hint: 'Open one with a larger max_length' }
    )
  }

  protected override async _open(): Promise<void> {
    this.#borrowed = await this.#model.borrow(this.#ids)
  }

  protected override async _close(): Promise<void> {
    await this.#borrowed?.[Symbol.asyncDispose]()
    this.#borrowed = undefined
  }
}
