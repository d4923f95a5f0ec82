// Why an answer ended, and what it took.
import type { RouteHop } from '../../client/route/route.ts'

/** Counts and times of an answer, named as llama-server's `timings` are. */
export interface AnswerTimes {
  readonly cache_n: number
  readonly prompt_n: number
  readonly prompt_ms: number
  readonly prompt_per_second: number
  readonly predicted_n: number
  readonly predicted_ms: number
  readonly predicted_per_second: number
}

export interface AnswerEnd {
  /** 'stop': the model ended, or a stop text came; 'length': a limit was reached. */
  readonly finish: 'stop' | 'length'
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly newTokens: number
  readonly times: AnswerTimes
  /** Which servers computed it, at its end. */
  readonly route: readonly RouteHop[]
  /** The stop text that ended it. */
  readonly stop?: string | undefined
}
