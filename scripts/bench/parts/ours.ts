// Our side of a benchmark beside llama.cpp, as a client alone runs it: embedding, worker, head,
// argmax.
import { systemClock } from '../../../src/base/clock.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import { argmax } from '../../../src/client/text/sampler.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import type { Model } from '../../../src/model/types.ts'
import type { Contender } from '../../llama/llama-cpp.ts'

/** All blocks of the model in one worker; `notes` say how its weights are held. */
export async function startOurs(
  model: Model,
  threads: number
): Promise<Contender & { notes: string }> {
  const { location, config } = model
  const compute = new Compute({ threads })
  const range = { location, start: 0, end: config.blockCount, quant: 'native' } as const
  const { span, notes } = await compute.loadSpan(range)
  const head = await compute.loadHead(location, 'native')
  const session = await compute.openSession(span)
  const feed = async (ids: readonly number[], start: number): Promise<Float32Array> => {
    const hidden = embedTokens(model, ids)
    return (await compute.step({ session, start, count: ids.length, hidden })).hidden
  }
  const logits = (hidden: Float32Array): Promise<Float32Array> =>
    compute.head(head, hidden.slice(-config.hiddenSize))
  return {
    notes: notes.join('; '),
    async prefill(ids) {
      const began = systemClock.now()
      await feed(ids, 0)
      return systemClock.now() - began
    },
    async decode(ids, count) {
      let id = argmax(await logits(await feed(ids, 0)))
      const began = systemClock.now()
      for (let i = 0; i < count; i++) id = argmax(await logits(await feed([id], ids.length + i)))
      return systemClock.now() - began
    },
    next: async (ids) => softmax(await logits(await feed(ids, 0))),
    close: () => compute.close()
  }
}

function softmax(logits: Float32Array): Float32Array {
  const most = logits.reduce((best, value) => Math.max(best, value), -Infinity)
  const values = logits.map((value) => Math.exp(value - most))
  const sum = values.reduce((total, value) => total + value, 0)
  return values.map((value) => value / sum)
}
