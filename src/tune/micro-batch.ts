// A few examples through the model and back: rows, targets, losses, gradients. Knows no optimiser
// and no order of steps.
import { computeError, toAppError } from '../base/errors.ts'
import type { HeadLoss, HeadLossStep } from '../blocks/train/train-types.ts'
import type { ModelConfig } from '../model/types.ts'
import type { TokenExample } from './data/tokens.ts'
import { addInto } from './optimise/vectors.ts'
import type { TuneValues } from './parameters.ts'
import type { Chain, ChainAdapter } from './swarm/chain.ts'

/** What of a model a training computes itself. */
export interface TuneModel {
  readonly config: ModelConfig
  /** Ids from position `start` on, to (ids, hiddenSize). */
  embed(ids: readonly number[], start: number): Float32Array
  headLoss(step: Omit<HeadLossStep, 'head'>, signal?: AbortSignal): Promise<HeadLoss>
}

export interface MicroBatch {
  readonly examples: readonly TokenExample[]
  /** The present numbers; `adapter` is theirs as it travels. */
  readonly values: TuneValues
  readonly adapter: ChainAdapter | undefined
  /** What each learnt token counts in the gradients. */
  readonly weight: number
}

export interface MicroResult {
  /** Sum over learnt tokens, and how many they are. */
  readonly loss: number
  readonly tokens: number
  /** Absent after evaluate(). */
  readonly gradients?: TuneValues | undefined
}

/** Rows of an example: its last token is only a target. */
export function rowsOf({ ids }: TokenExample, positions: number): number {
  return positions + Math.max(1, ids.length - 1)
}

/** Tokens of an example that are learnt. */
export function learntTokens({ learnt }: TokenExample): number {
  return learnt.reduce((sum, one) => sum + (one ? 1 : 0), 0)
}

/** Losses and gradients. @throws AppError COMPUTE naming the lines when a loss is no number */
export async function trainMicroBatch(
  parts: { model: TuneModel; chain: Chain },
  batch: MicroBatch,
  signal: AbortSignal
): Promise<MicroResult> {
  const { model, chain } = parts
  const { values, adapter, weight } = batch
  const { hiddenSize } = model.config
  const laid = lay(model, batch)
  const step = { lengths: laid.lengths, adapter, prompts: values.deepPrompt }
  const forward = await chain.forward(step, laid.hidden, signal)
  const { losses, hidden } = await lossOf(model, { laid, rows: forward.output, weight }, signal)
  const gradient = new Float32Array(forward.output.length)
  for (const [i, row] of laid.rows.entries()) {
    gradient.set(hidden.subarray(i * hiddenSize, (i + 1) * hiddenSize), row * hiddenSize)
  }
  const back = await chain.backward(step, forward, { gradient, signal })
  const gradients: TuneValues = {
    adapter: back.adapter,
    deepPrompt: back.prompts,
    prompt: values.prompt && promptGradient(values.prompt, laid.lengths, back.hidden)
  }
  return { loss: sum(losses), tokens: laid.rows.length, gradients }
}

/** Losses alone. */
export async function evaluateMicroBatch(
  { model, chain }: { model: TuneModel; chain: Chain },
  batch: MicroBatch,
  signal: AbortSignal
): Promise<MicroResult> {
  const laid = lay(model, batch)
  const step = { lengths: laid.lengths, adapter: batch.adapter, prompts: batch.values.deepPrompt }
  const { output } = await chain.forward(step, laid.hidden, signal)
  const { losses } = await lossOf(model, { laid, rows: output, weight: 0 }, signal)
  return { loss: sum(losses), tokens: laid.rows.length }
}

interface Laid {
  readonly lengths: readonly number[]
  readonly hidden: Float32Array
  /** Rows with a target, and their targets. */
  readonly rows: readonly number[]
  readonly targets: Int32Array
  readonly lines: readonly number[]
}

function lay(model: TuneModel, { examples, values }: MicroBatch): Laid {
  const { hiddenSize } = model.config
  const { prompt } = values
  const positions = (prompt?.length ?? 0) / hiddenSize
  const lengths = examples.map((example) => rowsOf(example, positions))
  const hidden = new Float32Array(lengths.reduce((all, one) => all + one, 0) * hiddenSize)
  const [rows, targets]: [number[], number[]] = [[], []]
  let first = 0
  for (const [index, { ids, learnt }] of examples.entries()) {
    const length = lengths[index] ?? 0
    if (prompt !== undefined) hidden.set(prompt, first * hiddenSize)
    const own = first + positions
    hidden.set(model.embed(ids.slice(0, length - positions), positions), own * hiddenSize)
    for (const [i, id] of ids.entries()) {
      if (i === 0 || learnt[i] !== true) continue
      rows.push(own + i - 1)
      targets.push(id)
    }
    first += length
  }
  const lines = examples.map(({ line }) => line)
  return { lengths, hidden, rows, targets: Int32Array.from(targets), lines }
}

async function lossOf(
  model: TuneModel,
  { laid, rows, weight }: { laid: Laid; rows: Float32Array; weight: number },
  signal: AbortSignal
): Promise<HeadLoss> {
  const { hiddenSize } = model.config
  const hidden = new Float32Array(laid.rows.length * hiddenSize)
  for (const [i, row] of laid.rows.entries()) {
    hidden.set(rows.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize)
  }
  try {
    return await model.headLoss({ hidden, targets: laid.targets, weight }, signal)
  } catch (thrown) {
    const cause = toAppError(thrown)
    if (cause.code !== 'COMPUTE') throw cause
    const which = laid.lines.length === 1 ? 'line' : 'one of the lines'
    throw computeError(`The loss of ${which} ${laid.lines.join(', ')} is no number`, {
      cause,
      hint: 'Lower --lr, or leave the example out',
      retryable: false
    })
  }
}

function promptGradient(
  prompt: Float32Array,
  lengths: readonly number[],
  rows: Float32Array
): Float32Array {
  const total = new Float32Array(prompt.length)
  const all = lengths.reduce((sumOf, one) => sumOf + one, 0)
  const hiddenSize = rows.length / all
  let first = 0
  for (const length of lengths) {
    addInto(total, rows, first * hiddenSize)
    first += length
  }
  return total
}

function sum(values: Float64Array): number {
  return values.reduce((all, one) => all + one, 0)
}
