// Measures how fast this machine runs a span: a short decode and a short prompt on the real engine.
import { systemClock, type Clock } from '../base/clock.ts'
import type { ComputeApi, SpanInfo } from '../blocks/types.ts'

export interface Speed {
  /** Blocks times tokens a second, one token at a time. */
  readonly decode: number
  /** Blocks times tokens a second, PROMPT_TOKENS at a time. */
  readonly prefill: number
}

const WARM_STEPS = 3
const STEPS = 9
const PROMPT_TOKENS = 64

export async function measureSpeed(
  compute: ComputeApi,
  span: SpanInfo,
  options: { clock?: Clock; signal?: AbortSignal | undefined } = {}
): Promise<Speed> {
  const { clock = systemClock, signal } = options
  const blocks = span.end - span.start
  const session = await compute.openSession(span.span)
  try {
    const rows = (count: number): Float32Array =>
      Float32Array.from({ length: count * span.hiddenSize }, (_, i) => Math.sin(i * 0.37) * 0.1)
    const run = async (start: number, count: number): Promise<number> => {
      const before = clock.now()
      await compute.step({ session, start, count, hidden: rows(count) }, signal)
      return clock.now() - before
    }
    const prompt = Math.min(PROMPT_TOKENS, span.maxTokens - WARM_STEPS - STEPS)
    await run(0, prompt)
    const prefillMs = await run(0, prompt)
    for (let i = 0; i < WARM_STEPS; i++) await run(prompt + i, 1)
    const times: number[] = []
    for (let i = 0; i < STEPS; i++) times.push(await run(prompt + WARM_STEPS + i, 1))
    times.sort((a, b) => a - b)
    const decodeMs = times[Math.floor(STEPS / 2)] ?? 1
    return { decode: (blocks * 1000) / decodeMs, prefill: (blocks * prompt * 1000) / prefillMs }
  } finally {
    await compute.closeSession(session)
  }
}
