// Prompts of a training step's blocks, and their gradients. Knows no blocks' weights.
import type { TrainStep } from './train-types.ts'

export class PromptRows {
  readonly gradient: Float32Array
  readonly #values: Float32Array
  readonly #width: number
  readonly #lengths: readonly number[]
  readonly #hiddenSize: number

  constructor(values: Float32Array, of: { step: TrainStep; hiddenSize: number }) {
    const { range, lengths } = of.step
    this.#values = values
    this.#hiddenSize = of.hiddenSize
    this.#lengths = lengths
    this.#width = values.length / (range.end - range.start)
    this.gradient = new Float32Array(values.length)
  }

  /** Adds the block's prompt to each sequence's first rows. */
  addTo(rows: Float32Array, block: number): void {
    this.#each(block, (prompt, row) => {
      rows[row] = rows[row]! + this.#values[prompt]!
    })
  }

  /** The gradients of those rows. */
  takeFrom(rows: Float32Array, block: number): void {
    this.#each(block, (prompt, row) => {
      this.gradient[prompt] = this.gradient[prompt]! + rows[row]!
    })
  }

  #each(block: number, visit: (prompt: number, row: number) => void): void {
    let first = 0
    for (const length of this.#lengths) {
      const count = Math.min(this.#width, length * this.#hiddenSize)
      for (let i = 0; i < count; i++) visit(block * this.#width + i, first + i)
      first += length * this.#hiddenSize
    }
  }
}
