// The client's own part of a model: tokenizer, embedding, final norm and head. It stays on this
// machine. The compute worker runs the head; nothing here touches a peer.
import { unsupported } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import type { HeadLoss, HeadLossStep, HeadRowsStep } from '../../blocks/train/train-types.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { embedTokens } from '../../model/embed.ts'
import { clientTensorNames } from '../../model/needed-tensors.ts'
import { createTokenizer, type Tokenizer } from '../../model/text/tokenizer.ts'
import type { Model, ModelConfig } from '../../model/types.ts'

export interface LocalModelOptions {
  compute: ComputeApi
  model: Model
  /**
   * 'f32' computes the head with float activations, 'native' with the file's types. Default
   * 'native'.
   */
  headQuant?: 'native' | 'f32'
}

export class LocalModel extends Resource {
  readonly model: Model
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  readonly eosIds: ReadonlySet<number>
  readonly #compute: ComputeApi
  readonly #headQuant: 'native' | 'f32'
  #head: number | undefined

  constructor(options: LocalModelOptions) {
    super()
    this.model = options.model
    this.config = options.model.config
    this.tokenizer = createTokenizer(options.model.tokenizer)
    this.eosIds = new Set(options.model.tokenizer.eosIds)
    this.#compute = options.compute
    this.#headQuant = options.headQuant ?? 'native'
  }

  /** ids from position `start` on -> hidden (ids.length, hiddenSize) */
  embed(ids: readonly number[], start: number): Float32Array {
    return embedTokens(this.model, ids, start)
  }

  /** hidden (rows, hiddenSize) -> logits (rows, vocabSize) */
  head(hidden: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    if (this.#head === undefined) throw unsupported('The head was used before it was loaded')
    return this.#compute.head(this.#head, hidden, signal)
  }

  /** Losses of rows whose next token is known, and their gradient. */
  headLoss(step: Omit<HeadLossStep, 'head'>, signal?: AbortSignal): Promise<HeadLoss> {
    if (this.#head === undefined) throw unsupported('The head was used before it was loaded')
    return this.#compute.headLoss({ ...step, head: this.#head }, signal)
  }

  /** Logits as losses take them, or with their gradient that of the rows. */
  headRows(step: Omit<HeadRowsStep, 'head'>, signal?: AbortSignal): Promise<Float32Array> {
    if (this.#head === undefined) throw unsupported('The head was used before it was loaded')
    return this.#compute.headRows({ ...step, head: this.#head }, signal)
  }

  protected override async _open(): Promise<void> {
    await this.model.ensure(clientTensorNames(this.model.tensors))
    this.#head = await this.#compute.loadHead(this.model.location, this.#headQuant)
  }

  protected override async _close(): Promise<void> {
    if (this.#head !== undefined) await this.#compute.unloadHead(this.#head)
    this.model.close()
  }
}
