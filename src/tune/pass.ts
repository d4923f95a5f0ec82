// Sequences of ids through a model's blocks and back: their rows, behind those of a prompt that is
// trained, what comes out behind the last block, and gradients. Knows no losses and no optimiser.
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  StepDropout
} from '../blocks/train/train-types.ts'
import type { ModelConfig } from '../model/types.ts'
import type { ScoreHead } from './classify/score-head.ts'
import { addInto } from './optimise/vectors.ts'
import type { TuneValues } from './parameters.ts'
import type { Chain, ChainAdapter, ChainStep, Forward } from './swarm/chain.ts'

/** What of a model a training computes itself. */
export interface TuneModel {
  readonly config: ModelConfig
  /** Ids from position `start` on, to (ids, hiddenSize). */
  embed(ids: readonly number[], start: number): Float32Array
  headLoss(step: Omit<HeadLossStep, 'head'>, signal?: AbortSignal): Promise<HeadLoss>
  headRows(step: Omit<HeadRowsStep, 'head'>, signal?: AbortSignal): Promise<Float32Array>
}

export interface PassParts {
  readonly model: TuneModel
  readonly chain: Chain
  /** Where classes are told apart. */
  readonly scoreHead?: ScoreHead | undefined
}

export interface PassInput {
  /** Ids of each sequence, of which none is empty. */
  readonly sequences: readonly (readonly number[])[]
  /** Numbers of prompts; those of an adapter are in `adapter`. */
  readonly values: TuneValues
  readonly adapter?: ChainAdapter | undefined
  readonly dropout?: StepDropout | undefined
}

export class Pass {
  /** Of each sequence, the row of its first id. */
  readonly firsts: readonly number[]
  /** (rows, hiddenSize): behind the last block. */
  readonly output: Float32Array
  readonly #chain: Chain
  readonly #prompt: Float32Array | undefined
  readonly #step: ChainStep
  readonly #forward: Forward

  private constructor(parts: {
    chain: Chain
    prompt: Float32Array | undefined
    firsts: readonly number[]
    step: ChainStep
    forward: Forward
  }) {
    this.firsts = parts.firsts
    this.output = parts.forward.output
    this.#chain = parts.chain
    this.#prompt = parts.prompt
    this.#step = parts.step
    this.#forward = parts.forward
  }

  /** Through all blocks. @throws AppError as the chain fails */
  static async forward(
    { model, chain }: PassParts,
    { sequences, values, adapter, dropout }: PassInput,
    signal: AbortSignal
  ): Promise<Pass> {
    const { hiddenSize } = model.config
    const { prompt, deepPrompt: prompts } = values
    const positions = (prompt?.length ?? 0) / hiddenSize
    const lengths = sequences.map((ids) => positions + ids.length)
    const hidden = new Float32Array(lengths.reduce((all, one) => all + one, 0) * hiddenSize)
    const firsts: number[] = []
    let first = 0
    for (const ids of sequences) {
      if (prompt !== undefined) hidden.set(prompt, first * hiddenSize)
      firsts.push(first + positions)
      hidden.set(model.embed(ids, positions), (first + positions) * hiddenSize)
      first += positions + ids.length
    }
    const step = { lengths, adapter, dropout, prompts }
    const forward = await chain.forward(step, hidden, signal)
    return new Pass({ chain, prompt, firsts, step, forward })
  }

  /** Gradients of all that is trained, from that of the output. @throws AppError */
  async backward(gradient: Float32Array, signal: AbortSignal): Promise<TuneValues> {
    const back = await this.#chain.backward(this.#step, this.#forward, { gradient, signal })
    return {
      adapter: back.adapter,
      deepPrompt: back.prompts,
      prompt: this.#prompt && promptGradient(this.#prompt, this.#step.lengths, back.hidden)
    }
  }
}

function promptGradient(
  prompt: Float32Array,
  lengths: readonly number[],
  rows: Float32Array
): Float32Array {
  const total = new Float32Array(prompt.length)
  const all = lengths.reduce((sum, one) => sum + one, 0)
  const hiddenSize = rows.length / all
  let first = 0
  for (const length of lengths) {
    addInto(total, rows, first * hiddenSize)
    first += length
  }
  return total
}
