// A few examples through the model and back: targets, losses, gradients. Knows no optimiser and no
// order of steps.
import { computeError, toAppError } from '../base/errors.ts'
import type { HeadLoss, StepDropout } from '../blocks/train/train-types.ts'
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
  /** Of the examples, where the adapter does not read all. */
  readonly dropout?: StepDropout | undefined
}

export interface MicroResult {
  /** Sum over learnt tokens or classes, and how many they are. */
  readonly loss: number
  readonly tokens: number
  /** Classes that were told right. */
  readonly correct?: number | undefined
  /** Absent after evaluate(). */
  readonly gradients?: TuneValues | undefined
}

/** Rows of an example: its last token is only a target, unless its class is told. */
export function rowsOf(example: TokenExample, positions: number): number {
  return positions + inputsOf(example)
}

function inputsOf({ ids, label }: TokenExample): number {
  return label === undefined ? Math.max(1, ids.length - 1) : ids.length
}

/** Tokens of an example that are learnt; a class counts as one. */
export function learntTokens({ learnt, label }: TokenExample): number {
  if (label !== undefined) return 1
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
  const { rows, losses, hidden, score, correct } = await lossesOf(parts, { pass, batch }, signal)
  const gradient = new Float32Array(pass.output.length)
  for (const [i, row] of rows.entries()) {
    gradient.set(hidden.subarray(i * hiddenSize, (i + 1) * hiddenSize), row * hiddenSize)
  }
  const gradients = { ...(await pass.backward(gradient, signal)), score }
  return { loss: sum(losses), tokens: rows.length, correct, gradients }
}

/** Losses alone. */
export async function evaluateMicroBatch(
  parts: PassParts,
  batch: MicroBatch,
  signal: AbortSignal
): Promise<MicroResult> {
  const pass = await forward(parts, batch, signal)
  const { rows, losses, correct } = await lossesOf(parts, { pass, batch }, signal)
  return { loss: sum(losses), tokens: rows.length, correct }
}

function forward(parts: PassParts, batch: MicroBatch, signal: AbortSignal): Promise<Pass> {
  const sequences = batch.examples.map((example) => example.ids.slice(0, inputsOf(example)))
  const { values, adapter, dropout } = batch
  return Pass.forward(parts, { sequences, values, adapter, dropout }, signal)
}

interface Losses extends HeadLoss {
  /** Rows of the output that have a target. */
  readonly rows: readonly number[]
  /** Where classes are told apart: their matrix's gradient, and how many were told right. */
  readonly score?: Float32Array | undefined
  readonly correct?: number | undefined
}

async function lossesOf(
  { model, scoreHead }: PassParts,
  { pass, batch }: { pass: Pass; batch: MicroBatch },
  signal: AbortSignal
): Promise<Losses> {
  const { hiddenSize } = model.config
  const { examples, weight } = batch
  const [rows, targets]: [number[], number[]] = [[], []]
  for (const [index, example] of examples.entries()) {
    const { ids, learnt, label } = example
    if (label !== undefined) {
      rows.push((pass.firsts[index] ?? 0) + ids.length - 1)
      targets.push(label)
    }
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
    const { score } = batch.values
    if (score !== undefined) {
      if (scoreHead === undefined) throw new TypeError('There is no head for classes')
      return { rows, ...scoreHead.loss(hidden, targetIds, { score, weight }) }
    }
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
