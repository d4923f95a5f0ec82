// A training that a program steps itself: sequences forwards, a loss of its own, gradients back, a
// step of AdamW; or examples with the usual loss. `petals tune` stands on the same parts, in tune.
import { mkdir } from 'node:fs/promises'
import { badInput } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import type { ChatModel } from '../../model/text/chat-ids.ts'
import type { Tokenizer } from '../../model/text/tokenizer.ts'
import type { ModelConfig } from '../../model/types.ts'
import { keepTrained, type BaseModel } from '../../tune/adapter/keep.ts'
import { microBatches } from '../../tune/data/batches.ts'
import { parseExamples } from '../../tune/data/examples.ts'
import { tokenExamples, type TokenExample } from '../../tune/data/tokens.ts'
import { inOrder } from '../../tune/in-order.ts'
import { chainAdapter, type TuneShape, type TuneValues } from '../../tune/parameters.ts'
import { Pass, type PassParts } from '../../tune/pass.ts'
import type { ChainAdapter } from '../../tune/swarm/chain.ts'
import { MICRO_ROWS, PARALLEL, Tuner, type StepReport } from '../../tune/tuner.ts'
import { booleanOption, namedOptions, numberOption, type EitherCase } from '../named-options.ts'
import { plainIds, type Ids } from '../tokenizer.ts'
import { TrainingPass, type MicroPass } from './training-pass.ts'

export interface TrainingParts extends PassParts {
  readonly text: { readonly model: ChatModel; readonly tokenizer: Tokenizer }
  readonly base: BaseModel
  readonly shape: TuneShape
  /** Numbers to begin with. */
  readonly values: TuneValues
  /** Tokens that travel together. Default 512. */
  readonly microRows?: number | undefined
  /** Such parts under way together. Default 8. */
  readonly parallel?: number | undefined
  /** Of what an adapter leaves out by chance in learn(). Default 0. */
  readonly seed?: number | undefined
  readonly signal: AbortSignal
  readonly onclose: () => void
}

export interface ForwardOptions {
  /** Without what is trained: the model as it is, for a reference or a teacher. Default false. */
  frozen?: boolean
}

export interface StepOptions {
  /** Must be given, in this spelling or in camel case. */
  learning_rate?: number
  /** Gradients longer than this are shortened; 0: never. Default 1. */
  clip?: number
  /** Default 0. */
  weight_decay?: number
}

const STEP_NAMES = ['learning_rate', 'clip', 'weight_decay'] as const

export class Training implements Disposable {
  /** What is trained, and how large it is. */
  readonly shape: TuneShape
  readonly #parts: TrainingParts
  readonly #tuner: Tuner
  /** The adapter as it was sent last: while its numbers are the same, servers have it. */
  #sent: ChainAdapter | undefined

  constructor(parts: TrainingParts) {
    this.#parts = parts
    this.shape = parts.shape
    this.#tuner = new Tuner(parts)
  }

  /** Facts of the model. */
  get config(): ModelConfig {
    return this.#parts.model.config
  }

  /** The numbers that are trained, by name; a program may change them. */
  get values(): TuneValues {
    return this.#tuner.values
  }

  /** Their gradients, summed over backward() since the last step(). */
  get gradients(): TuneValues {
    return this.#tuner.optimiser.gradients
  }

  /**
   * Sequences of ids through the model, with what is trained as it is now.
   * @throws AppError BAD_INPUT, or what the swarm throws
   */
  async forward(batch: readonly Ids[], options: ForwardOptions = {}): Promise<TrainingPass> {
    const named = namedOptions({ ...options }, ['frozen'], 'forward()')
    const frozen = booleanOption('frozen', named.frozen) ?? false
    const { microRows = MICRO_ROWS, parallel = PARALLEL, signal, model } = this.#parts
    const { shape } = this
    const positions = frozen ? 0 : (shape.positions ?? 0)
    const sequences = batch.map((ids) => this.#checked(plainIds(ids), positions))
    if (sequences.length === 0) throw badInput('forward() needs at least one sequence')
    const values = frozen ? {} : this.values
    const adapter = frozen ? undefined : this.#adapter()
    const micro: MicroPass[] = []
    const groups = microBatches(sequences, ({ length }) => positions + length, microRows)
    const forward = async (own: readonly (readonly number[])[], all: AbortSignal) => ({
      sequences: own,
      pass: await Pass.forward(this.#parts, { sequences: own, values, adapter }, all)
    })
    for await (const one of inOrder(groups, forward, { parallel, signal })) micro.push(one)
    const add = frozen ? undefined : (more: TuneValues) => this.#tuner.optimiser.add(more)
    return new TrainingPass({ model, micro, parallel, signal, add })
  }

  /**
   * A step of AdamW along the gradients, which are 0 then; their length before it was shortened.
   */
  step(options: EitherCase<StepOptions>): { readonly norm: number } {
    return { norm: this.#tuner.optimiser.step(stepOptions(options, 'step()')) }
  }

  /** Forgets the gradients. */
  zero(): void {
    this.#tuner.optimiser.clear()
  }

  /**
   * forward(), the mean loss of what is to be learnt of examples, backward() and step() in one.
   * @throws AppError COMPUTE when a loss is no number, or what the swarm throws
   */
  learn(examples: readonly TokenExample[], options: EitherCase<StepOptions>): Promise<StepReport> {
    const { signal } = this.#parts
    return this.#tuner.step(examples, { ...stepOptions(options, 'learn()'), signal })
  }

  /** Mean loss of examples, without learning them. */
  async evaluate(examples: readonly TokenExample[]): Promise<number> {
    return (await this.#tuner.evaluate(examples, this.#parts.signal)).loss
  }

  /**
   * Lines of JSON, each with `messages`, `prompt` and `completion`, or `text`, as examples in ids;
   * longer ones are cut. @throws AppError BAD_INPUT naming each bad line
   */
  examples(lines: string, options: { max_length?: number } = {}): readonly TokenExample[] {
    const named = namedOptions({ ...options }, ['max_length'], 'examples()')
    const most = this.config.contextLength - (this.shape.positions ?? 0)
    const maxLength = numberOption('max_length', named.max_length, 2, most) ?? most
    const { model, tokenizer } = this.#parts.text
    const parsed = parseExamples(lines, 'examples')
    return tokenExamples(model, tokenizer, parsed, { maxLength }).examples
  }

  /**
   * Keeps what was learnt in a folder, as peft keeps adapters. @throws AppError UNSUPPORTED for a
   * family whose adapters cannot be kept
   */
  async save(folder: string): Promise<void> {
    try {
      await mkdir(folder, { recursive: true })
    } catch (cause) {
      throw folderError(`'${folder}' cannot be made`, cause)
    }
    const { shape, config } = this
    await keepTrained(folder, this.values, { shape, config, base: this.#parts.base })
  }

  [Symbol.dispose](): void {
    this.#parts.onclose()
  }

  #checked(ids: readonly number[], positions: number): readonly number[] {
    const { vocabSize, contextLength } = this.config
    if (ids.length === 0) throw badInput('A sequence needs at least one id')
    if (ids.length + positions > contextLength) {
      throw badInput(
        `A sequence of ${ids.length} ids cannot be trained: the model ends at ` +
          `${contextLength - positions}`
      )
    }
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize)
    if (wrong === undefined) return ids
    throw badInput(`Id ${wrong} cannot be trained: the model has ${vocabSize} ids`)
  }

  #adapter(): ChainAdapter | undefined {
    const { adapter } = this.values
    const sent = this.#sent?.values
    const isSame = adapter && sent && Buffer.compare(bytesOf(adapter), bytesOf(sent)) === 0
    if (!isSame) this.#sent = chainAdapter(this.shape, this.values)
    return this.#sent
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

function stepOptions(
  given: object,
  what: string
): { learningRate: number; clip: number | undefined; weightDecay: number | undefined } {
  const named = namedOptions({ ...given }, STEP_NAMES, what)
  const learningRate = numberOption('learning_rate', named.learning_rate, 0, 10)
  if (learningRate === undefined) throw badInput(`${what} needs a learning_rate`)
  return {
    learningRate,
    clip: numberOption('clip', named.clip, 0, Number.MAX_VALUE),
    weightDecay: numberOption('weight_decay', named.weight_decay, 0, 1)
  }
}
