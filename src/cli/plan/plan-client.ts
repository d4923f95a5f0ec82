// Measures what a client on this machine does for a step: embedding, codec, head, sampling. Called
// by plan.ts and, between steps through a local server, by plan-measure.ts.
import { systemClock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import { seededRandom } from '../../base/random.ts'
import type { ComputeApi, Quant } from '../../blocks/types.ts'
import type { ClientTimes } from '../../client/route/forecast.ts'
import { createSampler } from '../../client/text/sampler.ts'
import { typical } from '../../client/route/trial.ts'
import { embedTokens } from '../../model/embed.ts'
import { clientTensorNames } from '../../model/needed-tensors.ts'
import type { Model } from '../../model/types.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { WireDtype } from '../../wire/types.ts'

export interface ClientOptions {
  compute: ComputeApi
  model: Model
  /** The servers' quantisation: if it is exact, the head is exact too. */
  quant: Quant
  dtype: WireDtype
}

/** This machine as a client. */
export interface OwnTimes {
  readonly times: ClientTimes
  /** Whether the head was measured; otherwise it is estimated from the blocks' speed. */
  readonly headMeasured: boolean
}

/** The client's part of steps, repeated as often as needed. */
export interface OwnWork {
  /** What a client does between two steps. */
  between(): Promise<void>
  /**
   * @param reckonedMs estimate for the head if it could not be measured; undefined if there is none
   */
  times(reckonedMs?: number): OwnTimes | undefined
}

/**
 * Prepares a client's work; without embedding and head if they are not on this machine, or do not
 * fit beside what is measured.
 */
export async function startClient(
  stack: AsyncDisposableStack,
  options: ClientOptions
): Promise<OwnWork> {
  const { compute, model, dtype } = options
  const { hiddenSize, vocabSize, contextLength } = model.config
  const head = await loadHead(options)
  if (head !== undefined) stack.defer(() => compute.unloadHead(head).catch(() => {}))
  const sampler = createSampler({ seed: 1 })
  const logits = drawnLogits(vocabSize)
  const text: number[] = []
  const seen = { embedMs: [] as number[], codecMs: [] as number[], sampleMs: [] as number[] }
  const heads: number[] = []
  const now = systemClock.now
  return {
    async between() {
      const t0 = now()
      const id = text.at(-1) ?? 1
      const at = text.length % contextLength
      const row = head === undefined ? rowOf(hiddenSize, id) : embedTokens(model, [id], at)
      const t1 = now()
      const answer = decodeTensor(encodeTensor(row, 1, hiddenSize, dtype))
      const t2 = now()
      if (head !== undefined) await compute.head(head, answer)
      const t3 = now()
      text.push(sampler.next(logits, text))
      seen.embedMs.push(t1 - t0)
      seen.codecMs.push(t2 - t1)
      if (head !== undefined) heads.push(t3 - t2)
      seen.sampleMs.push(now() - t3)
    },
    times(reckonedMs) {
      const headMs = heads.length > 0 ? typical(heads) : reckonedMs
      if (headMs === undefined) return undefined
      const rest = {
        embedMs: typical(seen.embedMs),
        codecMs: typical(seen.codecMs),
        sampleMs: typical(seen.sampleMs)
      }
      return { times: { ...rest, headMs }, headMeasured: heads.length > 0 }
    }
  }
}

async function loadHead({ compute, model, quant }: ClientOptions): Promise<number | undefined> {
  if (model.missingBytes(clientTensorNames(model.tensors)) > 0) return undefined
  try {
    return await compute.loadHead(model.location, quant === 'f32' ? 'f32' : 'native')
  } catch (error) {
    if (toAppError(error).code === 'NO_MEMORY') return undefined
    throw error
  }
}

/** As wide as a trained model's, so that sampling takes as long. */
const LOGIT_DEVIATION = 3

function drawnLogits(vocabSize: number): Float32Array {
  const random = seededRandom(1)
  return Float32Array.from({ length: vocabSize }, () => {
    let sum = -6
    for (let i = 0; i < 12; i++) sum += random.next()
    return sum * LOGIT_DEVIATION
  })
}

function rowOf(hiddenSize: number, seed: number): Float32Array {
  return Float32Array.from({ length: hiddenSize }, (_, i) => Math.sin((i + seed) * 0.37))
}
