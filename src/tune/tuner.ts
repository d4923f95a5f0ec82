// The training loop's parts: a step over some examples with AdamW, and losses of others. Micro-
// batches are under way together, so that every server of the chain has work; their gradients are
// added in the order of the examples, so that the result does not depend on who was faster.
//
// # Design of this room
// tuner.ts one step: micro-batches, sum of gradients, clipping, AdamW micro-batch.ts a few
// examples: rows -> chain -> losses at the head -> back through the chain parameters.ts what is
// trained: an adapter, a prompt, deep prompts run-tuning.ts a whole training: data, order,
// schedule, checkpoints, log, the adapter at its end swarm/ chain.ts (whole sequences over servers,
// a failed span done again), train-swarm.ts
//                  (who is called, adapters brought), tune-caller.ts (calls over links)
// data/            lines -> examples -> tokens -> steps       optimise/  AdamW, schedules, clipping
// adapter/         a new one; peft's folder
// Servers compute in blocks/train by way of server/training; wire/protocol.ts has the calls.
import { clipGradients, adamW, newAdamWState, type AdamWState } from './optimise/adamw.ts'
import { microBatches } from './data/batches.ts'
import type { TokenExample } from './data/tokens.ts'
import {
  evaluateMicroBatch,
  learntTokens,
  rowsOf,
  trainMicroBatch,
  type MicroResult,
  type TuneModel
} from './micro-batch.ts'
import {
  addValues,
  chainAdapter,
  VALUE_NAMES,
  zeros,
  type TuneShape,
  type TuneValues
} from './parameters.ts'
import type { Chain } from './swarm/chain.ts'

export interface TunerOptions {
  readonly model: TuneModel
  readonly chain: Chain
  readonly shape: TuneShape
  /** Changed by each step. */
  readonly values: TuneValues
  /** Rows of a micro-batch. Default 512. */
  readonly microRows?: number | undefined
  /** Micro-batches under way together. Default 4. */
  readonly parallel?: number | undefined
  /** Gradients longer than this are shortened; 0: never. Default 1. */
  readonly clip?: number | undefined
  /** Default 0. */
  readonly weightDecay?: number | undefined
}

export interface StepReport {
  /** Mean over learnt tokens. */
  readonly loss: number
  /** Learnt tokens, and rows that went through the model. */
  readonly tokens: number
  readonly rows: number
  /** Of the gradients before they were shortened. */
  readonly norm: number
}

export type OptimiserStates = Partial<Record<(typeof VALUE_NAMES)[number], AdamWState>>

export const MICRO_ROWS = 512
const PARALLEL = 4

export class Tuner {
  readonly values: TuneValues
  readonly states: OptimiserStates
  readonly #options: TunerOptions

  /** `states` are those of an earlier training that is gone on with. */
  constructor(options: TunerOptions, states?: OptimiserStates) {
    this.#options = options
    this.values = options.values
    this.states = states ?? newStates(options.values)
  }

  /** One step of the optimiser over some examples. @throws AppError as a chain or a loss fails */
  async step(
    examples: readonly TokenExample[],
    { learningRate, signal }: { learningRate: number; signal: AbortSignal }
  ): Promise<StepReport> {
    const { clip = 1, weightDecay } = this.#options
    const tokens = examples.reduce((sum, example) => sum + learntTokens(example), 0)
    const gradients = zeros(this.values)
    const weight = Math.fround(1 / Math.max(1, tokens))
    let loss = 0
    for await (const result of this.#each(examples, { weight, signal }, trainMicroBatch)) {
      loss += result.loss
      if (result.gradients !== undefined) addValues(gradients, result.gradients)
    }
    const lists = VALUE_NAMES.flatMap((name) => gradients[name] ?? [])
    const norm = clipGradients(lists, clip)
    for (const name of VALUE_NAMES) {
      const [values, gradient, state] = [this.values[name], gradients[name], this.states[name]]
      if (values === undefined || gradient === undefined || state === undefined) continue
      adamW(values, gradient, state, { learningRate, weightDecay })
    }
    return { loss: loss / Math.max(1, tokens), tokens, rows: this.#rows(examples), norm }
  }

  /** Mean loss of examples that are not trained on. */
  async evaluate(examples: readonly TokenExample[], signal: AbortSignal): Promise<number> {
    let [loss, tokens] = [0, 0]
    for await (const result of this.#each(examples, { weight: 0, signal }, evaluateMicroBatch)) {
      loss += result.loss
      tokens += result.tokens
    }
    return loss / Math.max(1, tokens)
  }

  /** Results of micro-batches in their order, while others are under way. */
  async *#each(
    examples: readonly TokenExample[],
    { weight, signal }: { weight: number; signal: AbortSignal },
    run: typeof trainMicroBatch
  ): AsyncGenerator<MicroResult> {
    const { model, chain, shape, microRows = MICRO_ROWS, parallel = PARALLEL } = this.#options
    const { values } = this
    const adapter = chainAdapter(shape, values)
    const positions = shape.positions ?? 0
    const batches = microBatches(examples, (example) => rowsOf(example, positions), microRows)
    // One that fails ends the others.
    const stop = new AbortController()
    const all = AbortSignal.any([signal, stop.signal])
    const underWay: Promise<MicroResult>[] = []
    const begin = (): void => {
      const own = batches.shift()
      if (own === undefined) return
      const result = run({ model, chain }, { examples: own, values, adapter, weight }, all)
      // Waited for in its turn.
      result.catch(() => {})
      underWay.push(result)
    }
    try {
      while (underWay.length < parallel && batches.length > 0) begin()
      for (let next = underWay.shift(); next !== undefined; next = underWay.shift()) {
        const result = await next
        begin()
        yield result
      }
    } finally {
      stop.abort()
      await Promise.allSettled(underWay)
    }
  }

  #rows(examples: readonly TokenExample[]): number {
    const { positions = 0 } = this.#options.shape
    return examples.reduce((sum, example) => sum + rowsOf(example, positions), 0)
  }
}

function newStates(values: TuneValues): OptimiserStates {
  const states: OptimiserStates = {}
  for (const name of VALUE_NAMES) {
    const list = values[name]
    if (list !== undefined) states[name] = newAdamWState(list.length)
  }
  return states
}
