// Draws the weights of a random model.
import type { Random } from '../../../src/base/random.ts'
import type { Weight } from '../reference/ops.ts'

/** Collects tensors with weights that keep values near one. */
export class WeightBuilder {
  readonly tensors: Map<string, Weight> = new Map()
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  #normal(): number {
    const { log, sqrt, cos, PI } = Math
    return sqrt(-2 * log(1 - this.#random.next())) * cos(2 * PI * this.#random.next())
  }

  #add(name: string, shape: readonly number[], value: () => number): void {
    const count = shape.reduce((product, size) => product * size, 1)
    this.tensors.set(name, { shape, values: Float32Array.from({ length: count }, value) })
  }

  matrix(name: string, rows: number, columns: number, hasBias = false): void {
    this.#add(`${name}.weight`, [rows, columns], () => (1.5 * this.#normal()) / Math.sqrt(columns))
    if (hasBias) this.#add(`${name}.bias`, [rows], () => 0.3 * this.#normal())
  }

  /** GPT-2's: (in, out). */
  turned(name: string, rows: number, columns: number): void {
    this.#add(`${name}.weight`, [columns, rows], () => (1.5 * this.#normal()) / Math.sqrt(columns))
    this.#add(`${name}.bias`, [rows], () => 0.3 * this.#normal())
  }

  table(name: string, rows: number, columns: number, size = 0.5): void {
    this.#add(`${name}.weight`, [rows, columns], () => size * this.#normal())
  }

  norm(name: string, width: number, centre = 1): void {
    this.#add(`${name}.weight`, [width], () => centre + 0.2 * this.#normal())
  }

  layerNorm(name: string, width: number): void {
    this.norm(name, width)
    this.#add(`${name}.bias`, [width], () => 0.2 * this.#normal())
  }
}
