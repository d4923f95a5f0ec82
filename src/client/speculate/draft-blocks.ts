// All blocks of a small model on this machine, in place of a swarm. Knows no peers and no tokens.
import { internal } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import type { ComputeApi, Quant } from '../../blocks/types.ts'
import { blockTensorNames } from '../../model/needed-tensors.ts'
import type { Model } from '../../model/types.ts'
import type { Forward } from '../text/generate.ts'
import type { ForwardOptions } from '../session/forward.ts'

export interface DraftBlocksOptions {
  compute: ComputeApi
  model: Model
  /** Default 'native'. */
  quant?: Quant
}

// Others use the same worker and wait for no more rows than this.
const CHUNK_ROWS = 128

export class DraftBlocks extends Resource implements Forward {
  readonly #options: DraftBlocksOptions
  #span: number | undefined
  #session: number | undefined

  constructor(options: DraftBlocksOptions) {
    super()
    this.#options = options
  }

  reserve(): void {}

  async forward(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions = {}
  ): Promise<{ output: Float32Array }> {
    const { compute, model } = this.#options
    const { hiddenSize } = model.config
    const session = this.#session
    if (session === undefined) throw internal('The blocks were used before they were loaded')
    const rows = hidden.length / hiddenSize
    const answer = new Float32Array(hidden.length)
    for (let row = 0; row < rows; row += CHUNK_ROWS) {
      const count = Math.min(CHUNK_ROWS, rows - row)
      const input = hidden.slice(row * hiddenSize, (row + count) * hiddenSize)
      const step = { session, start: start + row, count, hidden: input }
      answer.set((await compute.step(step, options.signal)).hidden, row * hiddenSize)
    }
    return { output: answer.slice((rows - (options.answerRows ?? rows)) * hiddenSize) }
  }

  protected override async _open(): Promise<void> {
    const { compute, model, quant = 'native' } = this.#options
    const { location, config } = model
    await model.ensure(blockTensorNames(model.tensors, 0, config.blockCount))
    const info = await compute.loadSpan({ location, start: 0, end: config.blockCount, quant })
    this.#span = info.span
    this.#session = await compute.openSession(info.span)
  }

  protected override async _close(): Promise<void> {
    const { compute } = this.#options
    if (this.#session !== undefined) await compute.closeSession(this.#session)
    if (this.#span !== undefined) await compute.unloadSpan(this.#span)
  }
}
