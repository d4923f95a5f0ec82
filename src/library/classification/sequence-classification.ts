// A model whose blocks the swarm computes and that tells classes of texts apart, by the names that
// transformers and Petals give its parts. `petals tune --task classification` trains one.
import { badInput } from '../../base/errors.ts'
import { exp } from '../../base/double-math.ts'
import { toHex } from '../../base/bytes.ts'
import { Resource } from '../../base/resource.ts'
import type { ModelConfig } from '../../model/types.ts'
import { readTrainedClasses, type Trained } from '../../tune/adapter/keep.ts'
import { newScore, ScoreHead } from '../../tune/classify/score-head.ts'
import { microBatches } from '../../tune/data/batches.ts'
import { classTokens } from '../../tune/data/tokens.ts'
import { inOrder } from '../../tune/in-order.ts'
import { chainAdapter } from '../../tune/parameters.ts'
import { Pass, type PassParts } from '../../tune/pass.ts'
import type { ChainAdapter } from '../../tune/swarm/chain.ts'
import { Chain } from '../../tune/swarm/chain.ts'
import { MICRO_ROWS, PARALLEL } from '../../tune/tuner.ts'
import { namedOptions, textOption, wholeOption, type EitherCase } from '../named-options.ts'
import { Petals } from '../petals.ts'
import { PRETRAINED_NAMES, readPretrained, type PretrainedOptions } from '../pretrained-options.ts'
import type { TextModel } from '../text/text-model.ts'
import { plainIds, pretrainedTokenizer, type Ids, type PretrainedTokenizer } from '../tokenizer.ts'
import type { TrainAccess } from '../training/train-access.ts'

export interface ClassifierOptions extends PretrainedOptions {
  /** The folder that `petals tune --task classification` wrote, or one of peft's. */
  adapter?: string
  /** Classes of a new, untrained head, without `adapter`. */
  num_labels?: number
}

/** What a text is. */
export interface Prediction {
  readonly label: string
  /** How likely it is that. */
  readonly score: number
  /** How likely each class is, by name. */
  readonly scores: Readonly<Record<string, number>>
}

const MOST_LABELS = 1000

/** Options come in snake_case or camelCase. */
export class AutoDistributedModelForSequenceClassification extends Resource {
  readonly tokenizer: PretrainedTokenizer
  readonly #model: TextModel
  readonly #access: TrainAccess
  readonly #parts: PassParts
  readonly #trained: Trained
  readonly #labels: readonly string[]
  readonly #adapter: ChainAdapter | undefined
  readonly #head: ScoreHead
  readonly #onclose: () => Promise<void>

  /**
   * Opens a model of the swarm by an alias, owner/name or a file; close() or `await using` ends it.
   * @throws AppError BAD_INPUT for an unknown option, NOT_FOUND, NO_ROUTE, and what reading the
   * adapter throws
   */
  static async from_pretrained(
    name: string,
    options: EitherCase<ClassifierOptions> = {}
  ): Promise<AutoDistributedModelForSequenceClassification> {
    const names = [...PRETRAINED_NAMES, 'adapter', 'num_labels'] as const
    const { adapter, num_labels, ...others } = namedOptions(
      { ...options },
      names,
      'from_pretrained()'
    )
    const wish = {
      adapter: textOption('adapter', adapter),
      classes: wholeOption('num_labels', num_labels, 2, MOST_LABELS)
    }
    const { surroundings, petals: petalsOptions } = await readPretrained(others)
    const petals = new Petals(surroundings, petalsOptions)
    try {
      await petals.ready()
      const model = await petals.openModel(name)
      await model.ready()
      return await AutoDistributedModelForSequenceClassification.over(model, wish, async () => {
        await model.close()
        await petals.close()
      })
    } catch (error) {
      await petals.close()
      throw error
    }
  }

  /**
   * Over a model that is open already; `onclose` closes it. @throws AppError as from_pretrained()
   */
  static async over(
    model: TextModel,
    wish: { adapter?: string | undefined; classes?: number | undefined },
    onclose: () => Promise<void> = () => model.close()
  ): Promise<AutoDistributedModelForSequenceClassification> {
    const trained = await readTrained(model, wish)
    return new AutoDistributedModelForSequenceClassification(model, trained, onclose)
  }

  private constructor(model: TextModel, trained: Trained, onclose: () => Promise<void>) {
    super()
    const { local } = model
    this.tokenizer = pretrainedTokenizer(local.model, local.tokenizer)
    this.#model = model
    this.#trained = trained
    this.#labels = trained.shape.labels ?? []
    this.#adapter = chainAdapter(trained.shape, trained.values)
    this.#head = new ScoreHead(local.model)
    this.#access = model.openTraining()
    const { swarm, clock } = this.#access
    const chain = new Chain({ swarm, blockCount: local.config.blockCount, clock })
    this.#parts = { model: this.#access.local, chain }
    this.#onclose = onclose
  }

  /** Facts of the model. */
  get config(): ModelConfig {
    return this.#model.local.config
  }

  /** Names of the classes, in the order of the logits. */
  get labels(): readonly string[] {
    return this.#labels
  }

  /**
   * Logits of the classes, (classes) for each sequence of ids.
   * @throws AppError BAD_INPUT, or what the swarm throws
   */
  async forward(
    batch: readonly Ids[],
    options: { signal?: AbortSignal } = {}
  ): Promise<{ readonly logits: Float32Array[] }> {
    const { signal = new AbortController().signal } = options
    const { shape, values } = this.#trained
    const { score } = values
    if (score === undefined) throw new TypeError('There is no matrix for classes')
    const positions = shape.positions ?? 0
    const { hiddenSize, contextLength } = this.config
    const sequences = batch.map((ids) => plainIds(ids))
    for (const { length } of sequences) {
      if (length > 0 && length + positions <= contextLength) continue
      throw badInput(
        `A text of ${length} tokens cannot be classified: 1 to ${contextLength - positions} can be`
      )
    }
    const work = async (
      own: readonly (readonly number[])[],
      all: AbortSignal
    ): Promise<Float32Array> => {
      const input = { sequences: own, values, adapter: this.#adapter }
      const { firsts, output } = await Pass.forward(this.#parts, input, all)
      const last = new Float32Array(own.length * hiddenSize)
      for (const [i, ids] of own.entries()) {
        const row = (firsts[i] ?? 0) + ids.length - 1
        last.set(output.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize)
      }
      return this.#head.logits(last, score)
    }
    const groups = microBatches(sequences, ({ length }) => positions + length, MICRO_ROWS)
    const logits: Float32Array[] = []
    const classes = this.#labels.length
    for await (const rows of inOrder(groups, work, { parallel: PARALLEL, signal })) {
      for (let at = 0; at < rows.length; at += classes) logits.push(rows.slice(at, at + classes))
    }
    return { logits }
  }

  /** What texts are; longer ones are cut. @throws AppError as forward() */
  async predict(
    texts: string | readonly string[],
    options: { signal?: AbortSignal } = {}
  ): Promise<Prediction[]> {
    const { tokenizer } = this.#model.local
    const most = this.config.contextLength - (this.#trained.shape.positions ?? 0)
    const ids = [texts].flat().map((text) => classTokens(tokenizer, text).slice(0, most))
    const { logits } = await this.forward(ids, options)
    return logits.map((row) => this.#prediction(row))
  }

  #prediction(logits: Float32Array): Prediction {
    const most = Math.max(...logits)
    const shares = Array.from(logits, (value) => exp(value - most))
    const all = shares.reduce((sum, one) => sum + one, 0)
    const named = this.#labels.map((label, i) => [label, (shares[i] ?? 0) / all] as const)
    const [label, score] = named.reduce((best, one) => (one[1] > best[1] ? one : best))
    return { label, score, scores: Object.fromEntries(named) }
  }

  protected override async _open(): Promise<void> {
    await this.#model.ready()
  }

  protected override async _close(): Promise<void> {
    this.#access[Symbol.dispose]()
    await this.#onclose()
  }
}

async function readTrained(
  { local }: TextModel,
  { adapter, classes }: { adapter?: string | undefined; classes?: number | undefined }
): Promise<Trained> {
  const { config, model } = local
  if (adapter !== undefined) {
    const base = { name: config.name, id: toHex(model.contentId) }
    const trained = await readTrainedClasses(adapter, { config, base })
    const count = trained.shape.labels?.length
    if (classes === undefined || classes === count) return trained
    throw badInput(`'num_labels' cannot be ${classes}: the adapter has ${count} classes`)
  }
  if (classes === undefined) {
    throw badInput('There are no classes', {
      hint: "Give 'adapter', or 'num_labels' for a new head"
    })
  }
  const labels = Array.from({ length: classes }, (_, i) => `LABEL_${i}`)
  return { shape: { method: 'lora', labels }, values: { score: newScore(config, classes, 0) } }
}
