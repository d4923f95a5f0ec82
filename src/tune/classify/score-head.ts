// The end of a model that tells classes apart: the final norm and a trained matrix with a row for
// each class, as transformers' models for sequence classification have it under `score`. Rows are
// few, one a text, so this is computed here in float64 and rounded once. Knows no texts.
import { exp, log } from '../../base/double-math.ts'
import { computeError } from '../../base/errors.ts'
import { seededRandom } from '../../base/random.ts'
import { FINAL_NORM } from '../../blocks/families/facts.ts'
import { graphOf } from '../../blocks/families/graph-of.ts'
import type { NormKind } from '../../blocks/families/parts.ts'
import { dequantise } from '../../model/formats/dequantise.ts'
import type { Model, ModelConfig } from '../../model/types.ts'

/** Losses of rows, and the gradients of rows and matrix. */
export interface ScoreLoss {
  /** (rows) */
  readonly losses: Float64Array
  /** Rows whose class is the likeliest one. */
  readonly correct: number
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (classes, hiddenSize) */
  readonly score: Float32Array
}

/** Numbers of a new matrix (classes, hiddenSize), small and the same for a seed. */
export function newScore({ hiddenSize }: ModelConfig, classes: number, seed: number): Float32Array {
  const random = seededRandom(seed)
  const bound = 1 / Math.sqrt(hiddenSize)
  return Float32Array.from({ length: classes * hiddenSize }, () => (2 * random.next() - 1) * bound)
}

export class ScoreHead {
  readonly #width: number
  readonly #epsilon: number
  readonly #kind: NormKind
  /** (hiddenSize) each. */
  readonly #gamma: Float32Array
  readonly #beta: Float32Array | undefined

  constructor({ config, tensors }: Pick<Model, 'config' | 'tensors'>) {
    this.#width = config.hiddenSize
    this.#epsilon = config.rmsEps
    this.#kind = graphOf(config.family).norm
    const read = (name: string): Float32Array =>
      dequantise(tensors.info(name).type, tensors.read(name))
    const gamma = read(FINAL_NORM.weight)
    this.#gamma = config.normPlusOne ? gamma.map((value) => value + 1) : gamma
    this.#beta = this.#kind === 'layer' ? read(FINAL_NORM.bias) : undefined
  }

  /** (rows, classes), of rows (rows, hiddenSize) behind the last block. */
  logits(rows: Float32Array, score: Float32Array): Float32Array {
    const width = this.#width
    const classes = score.length / width
    const out = new Float32Array((rows.length / width) * classes)
    for (let at = 0; at * width < rows.length; at++) {
      const { normed } = this.#norm(rows.subarray(at * width, (at + 1) * width))
      for (let one = 0; one < classes; one++) {
        out[at * classes + one] = dot(normed, score, one * width)
      }
    }
    return out
  }

  /**
   * Of rows with a class each; every loss counts `weight` in the gradients.
   * @throws AppError COMPUTE if it is not finite
   */
  loss(
    rows: Float32Array,
    targets: Int32Array,
    { score, weight }: { score: Float32Array; weight: number }
  ): ScoreLoss {
    const width = this.#width
    const classes = score.length / width
    const losses = new Float64Array(targets.length)
    const hidden = new Float32Array(rows.length)
    const gradient = new Float64Array(score.length)
    let correct = 0
    for (const [at, target] of targets.entries()) {
      const row = rows.subarray(at * width, (at + 1) * width)
      const { normed, centred, inverse } = this.#norm(row)
      const logits = Float64Array.from({ length: classes }, (_, i) => dot(normed, score, i * width))
      const most = Math.max(...logits)
      const shares = logits.map((value) => exp(value - most))
      const all = shares.reduce((sum, one) => sum + one, 0)
      losses[at] = log(all) - (logits[target]! - most)
      if (logits[target] === most) correct++
      const back = new Float64Array(width)
      for (let one = 0; one < classes; one++) {
        const own = (shares[one]! / all - (one === target ? 1 : 0)) * weight
        for (let i = 0; i < width; i++) {
          gradient[one * width + i] = gradient[one * width + i]! + own * normed[i]!
          back[i] = back[i]! + own * score[one * width + i]!
        }
      }
      hidden.set(this.#normBack(back, centred, inverse), at * width)
    }
    if (!losses.every(Number.isFinite)) throw computeError('A loss is no number')
    return { losses, correct, hidden, score: Float32Array.from(gradient) }
  }

  /** A row normed; and, for the way back, centred and with its scale. */
  #norm(row: Float32Array): { normed: Float64Array; centred: Float64Array; inverse: number } {
    const width = this.#width
    const mean = this.#kind === 'layer' ? row.reduce((sum, one) => sum + one, 0) / width : 0
    const centred = Float64Array.from(row, (value) => value - mean)
    const square = centred.reduce((sum, one) => sum + one * one, 0) / width
    const inverse = 1 / Math.sqrt(square + this.#epsilon)
    const normed = centred.map(
      (value, i) => value * inverse * this.#gamma[i]! + (this.#beta?.[i] ?? 0)
    )
    return { normed, centred, inverse }
  }

  /** The gradient of a row, from that of the normed one, which it changes. */
  #normBack(gradient: Float64Array, centred: Float64Array, inverse: number): Float32Array {
    const width = this.#width
    let [sum, product] = [0, 0]
    for (let i = 0; i < width; i++) {
      gradient[i] = gradient[i]! * this.#gamma[i]!
      sum += gradient[i]!
      product += gradient[i]! * centred[i]!
    }
    const mean = this.#kind === 'layer' ? sum / width : 0
    const along = (product / width) * inverse * inverse
    return Float32Array.from(gradient, (own, i) => (own - mean - along * centred[i]!) * inverse)
  }
}

function dot(row: Float64Array, matrix: Float32Array, from: number): number {
  let sum = 0
  for (let i = 0; i < row.length; i++) sum += row[i]! * matrix[from + i]!
  return sum
}
