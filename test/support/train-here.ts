// What a training stands on, over all blocks of a model in one engine: no swarm.
import { systemClock } from '../../src/base/clock.ts'
import type { ComputeApi } from '../../src/blocks/types.ts'
import type { LocalModel } from '../../src/client/text/local-model.ts'
import type { TrainAccess } from '../../src/library/training/train-access.ts'

export function trainHere(compute: ComputeApi, local: LocalModel): TrainAccess {
  const { blockCount } = local.config
  const loading = compute.loadSpan({
    location: local.model.location,
    start: 0,
    end: blockCount,
    quant: 'f32'
  })
  return {
    local,
    clock: systemClock,
    servers: async () => [],
    isHere: () => true,
    swarm: {
      plan: async ({ start, end }) => [{ peer: 'here', start, end }],
      async call({ hop, step, hidden, gradient }, signal) {
        const { span } = await loading
        const { lengths, adapter, prompts } = step
        const { start, end } = hop
        const each = (adapter?.values.length ?? 0) / blockCount
        return compute.train(
          {
            span,
            range: { start, end },
            lengths,
            hidden: hidden.slice(),
            gradient,
            adapter: adapter && {
              shape: adapter.shape,
              values: adapter.values.slice(start * each, end * each)
            },
            prompts: prompts?.slice()
          },
          signal
        )
      },
      failed: () => {}
    },
    [Symbol.dispose]: () =>
      void loading.then(({ span }) => compute.unloadSpan(span)).catch(() => {})
  }
}
