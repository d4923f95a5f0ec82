// A few examples through the model and back: targets, losses, gradients. Knows no optimiser and no
// order of steps.
import { computeError, toAppError } from '../base/errors.ts'
import type { HeadLoss } from '../blocks/train/train-types.ts'
import type { TokenExample } from './data/tokens.ts'
import type { TuneValues } from './parameters.ts'
import { Pass, type PassParts } from './pass.ts'
import type { ChainAdapter } from './swarm/chain.ts'

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
  parts: PassParts,
  batch: MicroBatch,
  signal: AbortSignal
): Promise<MicroResult> {
  const { hiddenSize } = parts.model.config
  const pass = await forward(parts, batch, signal)
  const { rows, losses, hidden } = await lossesOf(parts, { pass, batch }, signal)
  const gradient = new Float32Array(pass.output.length)
  for (const [i, row] of rows.entries()) {
    gradient.set(hidden.subarray(i * hiddenSize, (i + 1) * hiddenSize), row * hiddenSize)
  }
  const gradients = await pass.backward(gradient, signal)
  return { loss: sum(losses), tokens: rows.length, gradients }
}

/** Losses alone. */
export async function evaluateMicroBatch(
  parts: PassParts,
  batch: MicroBatch,
  signal: AbortSignal
): Promise<MicroResult> {
  const pass = await forward(parts, batch, signal)
  const { rows, losses } = await lossesOf(parts, { pass, batch }, signal)
  return { loss: sum(losses), tokens: rows.length }
}

function forward(parts: PassParts, batch: MicroBatch, signal: AbortSignal): Promise<Pass> {
  const sequences = batch.examples.map(({ ids }) => ids.slice(0, Math.max(1, ids.length - 1)))
  const { values, adapter } = batch
  return Pass.forward(parts, { sequences, values, adapter }, signal)
}

interface Losses extends HeadLoss {
  /** Rows of the output that have a target. */
  readonly rows: readonly number[]
}

async function lossesOf(
  { model }: PassParts,
  { pass, batch }: { pass: Pass; batch: MicroBatch },
  signal: AbortSignal
): Promise<Losses> {
  const { hiddenSize } = model.config
  const { examples, weight } = batch
  const [rows, targets]: [number[], number[]] = [[], []]
  for (const [index, { ids, learnt }] of examples.entries()) {
    for (const [i, id] of ids.entries()) {
      if (i === 0 || learnt[i] !== true) continue
      rows.push((pass.firsts[index] ?? 0) + i - 1)
      targets.push(id)
    }
  }
  const hidden = new Float32Array(rows.length * hiddenSize)
  for (const [i, row] of rows.entries()) {
    hidden.set(pass.output.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize)
  }
  try {
    const targetIds = Int32Array.from(targets)
    return { rows, ...(await model.headLoss({ hidden, targets: targetIds, weight }, signal)) }
  } catch (thrown) {
    const cause = toAppError(thrown)
    if (cause.code !== 'COMPUTE') throw cause
    const lines = examples.map(({ line }) => line)
    const which = lines.length === 1 ? 'line' : 'one of the lines'
    throw computeError(`The loss of ${which} ${lines.join(', ')} is no number`, {
      cause,
      hint: 'Lower --lr, or leave the example out',
      retryable: false
    })
  }
}

function sum(values: Float64Array): number {
  return values.reduce((all, one) => all + one, 0)
}
