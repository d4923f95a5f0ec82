// Sequences that went through a model and may go back: what a loss of a program's own is computed
// from, and the way its gradient takes. Knows no optimiser.
import { badInput } from '../../base/errors.ts'
import { inOrder } from '../../tune/in-order.ts'
import { addInto, scaledRows } from '../../tune/optimise/vectors.ts'
import type { TuneValues } from '../../tune/parameters.ts'
import type { Pass, TuneModel } from '../../tune/pass.ts'
import { numbersOf, type Tensor, type TensorLike } from './tensor.ts'

/** A few sequences that travelled together. */
export interface MicroPass {
  readonly sequences: readonly (readonly number[])[]
  readonly pass: Pass
}

export interface TrainingPassOptions {
  readonly model: TuneModel
  readonly micro: readonly MicroPass[]
  /** Passes on their way together. */
  readonly parallel: number
  readonly signal: AbortSignal
  /** Takes the gradients of each few sequences, in their order; absent: nothing goes back. */
  readonly add?: ((gradients: TuneValues) => void) | undefined
}

/** Gradients of a loss by what it was computed from; each list has one entry for each sequence. */
export interface LossGradient {
  /** (ids, hiddenSize) each */
  readonly hidden?: readonly TensorLike[] | undefined
  /** (ids, vocabSize) each */
  readonly logits?: readonly TensorLike[] | undefined
  /** (ids - 1) each */
  readonly losses?: readonly TensorLike[] | undefined
}

/** Rows of the head at once: logits are wide, and other steps of this process come between. */
const HEAD_ROWS = 64

interface SequenceLosses {
  readonly losses: Tensor
  /** (ids - 1, hiddenSize): gradient of each loss's row. */
  readonly rows: Float32Array
}

export class TrainingPass {
  /** (ids, hiddenSize) of each sequence: behind the last block, before the final norm. */
  readonly hidden: readonly Tensor[]
  readonly #options: TrainingPassOptions
  #losses: Promise<readonly SequenceLosses[]> | undefined

  constructor(options: TrainingPassOptions) {
    this.#options = options
    const { hiddenSize } = options.model.config
    this.hidden = options.micro.flatMap(({ sequences, pass }) =>
      sequences.map((ids, index): Tensor => {
        const first = pass.firsts[index] ?? 0
        const data = pass.output.slice(first * hiddenSize, (first + ids.length) * hiddenSize)
        return { data, shape: [ids.length, hiddenSize] }
      })
    )
  }

  /** (ids, vocabSize) of each sequence: the logits behind each id. @throws AppError */
  async logits(): Promise<readonly Tensor[]> {
    const { vocabSize } = this.#options.model.config
    const all: Tensor[] = []
    for (const { data, shape } of this.hidden) {
      all.push({ data: await this.#head(data), shape: [shape[0] ?? 0, vocabSize] })
    }
    return all
  }

  /**
   * (ids - 1) of each sequence: -log of the probability of each next id. @throws AppError COMPUTE
   */
  async losses(): Promise<readonly Tensor[]> {
    this.#losses ??= this.#lossRows()
    return (await this.#losses).map(({ losses }) => losses)
  }

  /**
   * Takes a loss's gradient back through the model: adds to the training's gradients, and gives
   * what it added. Gradients by several ways are added.
   * @throws AppError BAD_INPUT for other shapes or no numbers, or what the swarm throws
   */
  async backward(given: LossGradient): Promise<TuneValues> {
    const { micro, parallel, signal, add } = this.#options
    if (add === undefined) throw badInput('What ran without what is trained cannot go back')
    const rows = await this.#rows(given)
    let first = 0
    const work = micro.map(({ sequences, pass }) => {
      const own = rows.slice(first, first + sequences.length)
      first += sequences.length
      return { pass, own }
    })
    const total: Record<string, Float32Array> = {}
    for await (const gradients of inOrder(work, (one, all) => this.#back(one, all), {
      parallel,
      signal
    })) {
      add(gradients)
      for (const [name, values] of Object.entries(gradients) as [string, Float32Array?][]) {
        const sum = total[name]
        if (values === undefined) continue
        if (sum === undefined) total[name] = values
        else addInto(sum, values)
      }
    }
    return total
  }

  #back(
    { pass, own }: { pass: Pass; own: readonly Float32Array[] },
    signal: AbortSignal
  ): Promise<TuneValues> {
    const { hiddenSize } = this.#options.model.config
    const gradient = new Float32Array(pass.output.length)
    for (const [index, values] of own.entries()) {
      gradient.set(values, (pass.firsts[index] ?? 0) * hiddenSize)
    }
    return pass.backward(gradient, signal)
  }

  /** (ids, hiddenSize) of each sequence: the gradient behind the last block. */
  async #rows({ hidden, logits, losses }: LossGradient): Promise<Float32Array[]> {
    if (hidden === undefined && logits === undefined && losses === undefined) {
      throw badInput('A gradient needs one of hidden, logits and losses')
    }
    const { hiddenSize, vocabSize } = this.#options.model.config
    for (const [name, list] of Object.entries({ hidden, logits, losses })) {
      if (list === undefined || list.length === this.hidden.length) continue
      throw badInput(
        `The gradient of '${name}' is of ${list.length} sequences, not ${this.hidden.length}`
      )
    }
    if (losses !== undefined) this.#losses ??= this.#lossRows()
    const lossRows = losses && (await this.#losses)
    const all: Float32Array[] = []
    for (const [index, { data, shape }] of this.hidden.entries()) {
      const sum = new Float32Array(data.length)
      const [ids = 0] = shape
      const what = (name: string): string => `The gradient of '${name}' of sequence ${index}`
      const [byHidden, byLogits, byLoss] = [hidden?.[index], logits?.[index], losses?.[index]]
      if (byHidden !== undefined) addInto(sum, numbersOf(byHidden, shape, what('hidden')))
      if (byLogits !== undefined) {
        const numbers = numbersOf(byLogits, [ids, vocabSize], what('logits'))
        addInto(sum, await this.#head(data, numbers))
      }
      if (byLoss !== undefined) {
        const numbers = numbersOf(byLoss, [ids - 1], what('losses'))
        const rows = lossRows?.[index]?.rows ?? new Float32Array(0)
        // The last id has no next one.
        addInto(sum.subarray(0, rows.length), scaledRows(rows, numbers, hiddenSize))
      }
      all.push(sum)
    }
    return all
  }

  /** Logits of rows; with their gradient the gradient of the rows. */
  async #head(hidden: Float32Array, gradient?: Float32Array): Promise<Float32Array> {
    const { model, signal } = this.#options
    const { hiddenSize, vocabSize } = model.config
    const count = hidden.length / hiddenSize
    const width = gradient === undefined ? vocabSize : hiddenSize
    const whole = new Float32Array(count * width)
    for (let from = 0; from < count; from += HEAD_ROWS) {
      const end = Math.min(count, from + HEAD_ROWS)
      const rows = hidden.slice(from * hiddenSize, end * hiddenSize)
      const part = gradient?.slice(from * vocabSize, end * vocabSize)
      whole.set(await model.headRows({ hidden: rows, gradient: part }, signal), from * width)
    }
    return whole
  }

  async #lossRows(): Promise<readonly SequenceLosses[]> {
    const { model, micro, signal } = this.#options
    const { hiddenSize } = model.config
    const all: SequenceLosses[] = []
    for (const { sequences } of micro) {
      const own = this.hidden.slice(all.length, all.length + sequences.length)
      const parts = own.map(({ data }) => data.subarray(0, data.length - hiddenSize))
      const hidden = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
      let at = 0
      for (const part of parts) {
        hidden.set(part, at)
        at += part.length
      }
      const targets = Int32Array.from(sequences.flatMap((ids) => ids.slice(1)))
      const found =
        targets.length === 0
          ? { losses: new Float64Array(0), hidden }
          : await model.headLoss({ hidden, targets, weight: 1 }, signal)
      let first = 0
      for (const { length } of sequences) {
        const end = first + length - 1
        const losses = {
          data: Float32Array.from(found.losses.subarray(first, end)),
          shape: [length - 1]
        }
        all.push({ losses, rows: found.hidden.slice(first * hiddenSize, end * hiddenSize) })
        first = end
      }
    }
    return all
  }
}
