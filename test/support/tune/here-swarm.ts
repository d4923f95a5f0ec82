// Blocks of one engine as a swarm of one server, for trainings without a network.
import type { BlockSpan } from '../../../src/base/block-span.ts'
import type { ComputeApi } from '../../../src/blocks/types.ts'
import type { RouteHop } from '../../../src/client/route/route.ts'
import type { SpanAnswer, SpanCall, TrainSwarm } from '../../../src/tune/swarm/chain.ts'

export class HereSwarm implements TrainSwarm {
  readonly #compute: Pick<ComputeApi, 'train'>
  readonly #span: number

  /** The span has all blocks of the model. */
  constructor(compute: Pick<ComputeApi, 'train'>, span: number) {
    this.#compute = compute
    this.#span = span
  }

  async plan({ start, end }: BlockSpan): Promise<readonly RouteHop[]> {
    return [{ peer: 'here', start, end }]
  }

  call({ hop, step, hidden, gradient }: SpanCall, signal: AbortSignal): Promise<SpanAnswer> {
    const { start, end } = hop
    const { lengths, adapter, prompts } = step
    const range = { start, end }
    // The engine is given its lists; the chain keeps its own.
    return this.#compute.train(
      {
        span: this.#span,
        range,
        lengths,
        hidden: hidden.slice(),
        gradient,
        adapter: adapter && { shape: adapter.shape, values: adapter.values.slice() },
        prompts: prompts?.slice()
      },
      signal
    )
  }

  failed(_peer: string, error: Error): void {
    throw error
  }
}
