// Changes logits before an id is drawn, besides the sampler's own options: biases, penalties by how
// often an id occurred, masks; and records how probable the drawn ids were. Knows no tokenizer.
import { exp, log } from '../../base/double-math.ts'
import { badInput } from '../../base/errors.ts'

/** Like transformers' LogitsProcessor, but also told what was drawn. */
export interface LogitsProcessor {
  /**
   * @param logits (vocabSize), not modified
   * @param text ids so far, including the prompt's
   */
  process(logits: Float32Array, text: readonly number[]): Float32Array
  /** An id was drawn and stays; `logits` (vocabSize) are the model's own. */
  drew?(id: number, logits: Float32Array): void
}

/** Adds to the logits of some ids. @throws AppError BAD_INPUT for ids and values out of range */
export function biasProcessor(
  biases: ReadonlyMap<number, number>,
  vocabSize: number
): LogitsProcessor {
  for (const [id, bias] of biases) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize || !(Math.abs(bias) <= 100)) {
      throw badInput(`The bias ${bias} of token ${id} cannot be used`, {
        advice: `Ids go from 0 to ${vocabSize - 1}, biases from -100 to 100`
      })
    }
  }
  return {
    process(logits) {
      const changed = logits.slice()
      for (const [id, bias] of biases) changed[id] = (changed[id] ?? 0) + bias
      return changed
    }
  }
}

/**
 * As OpenAI's penalties: subtracts `frequency` for each time an id occurred in the answer, and
 * `presence` once if it did.
 */
export function countPenalties(frequency: number, presence: number): LogitsProcessor {
  const counts = new Map<number, number>()
  return {
    process(logits) {
      const changed = logits.slice()
      for (const [id, count] of counts) {
        changed[id] = (changed[id] ?? 0) - frequency * count - presence
      }
      return changed
    },
    drew: (id) => void counts.set(id, (counts.get(id) ?? 0) + 1)
  }
}

export interface LogProb {
  readonly id: number
  /** Natural logarithm of the model's own probability. */
  readonly logprob: number
}

export interface DrawnLogProb extends LogProb {
  /** The most probable ids, best first. */
  readonly top: readonly LogProb[]
}

/** Records how probable each drawn id was, with the `most` most probable ones. */
export function recordLogProbs(
  most: number,
  onrecord: (drawn: DrawnLogProb) => void
): LogitsProcessor {
  return {
    process: (logits) => logits,
    drew: (id, logits) => onrecord(logProbOf(logits, id, most))
  }
}

/** @param logits (vocabSize) */
export function logProbOf(logits: Float32Array, id: number, most: number): DrawnLogProb {
  let peak = -Infinity
  for (const value of logits) if (value > peak) peak = value
  let sum = 0
  for (const value of logits) sum += exp(value - peak)
  const shift = peak + log(sum)
  const top: LogProb[] = []
  for (const [other, value] of logits.entries()) {
    const last = top.at(-1)
    if (most === 0 || (top.length === most && last && value - shift <= last.logprob)) continue
    const at = top.findIndex(({ logprob }) => value - shift > logprob)
    top.splice(at < 0 ? top.length : at, 0, { id: other, logprob: value - shift })
    if (top.length > most) top.pop()
  }
  return { id, logprob: (logits[id] ?? -Infinity) - shift, top }
}
