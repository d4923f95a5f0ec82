// An answer with what is known of it, as --json and --jsonl print it.
import type { RouteHop } from '../../library/text/report.ts'

export interface AnswerFacts {
  /** As it was typed. */
  readonly model: string
  readonly text: string
  /** 'stop': the model ended; 'length': --max-tokens; 'context': the model's context is full. */
  readonly finish: 'stop' | 'length' | 'context'
  readonly promptTokens: number
  /** Of the prompt, those that servers had kept. */
  readonly reusedTokens: number
  readonly newTokens: number
  readonly firstTokenMs: number
  readonly tokensPerSecond: number
  readonly route: readonly RouteHop[]
}

export function answerRecord(facts: AnswerFacts): object {
  const { model, text, finish, promptTokens, reusedTokens, newTokens, route } = facts
  return {
    model,
    text,
    finish,
    usage: { promptTokens, reusedTokens, newTokens, totalTokens: promptTokens + newTokens },
    speed: {
      firstTokenMs: rounded(facts.firstTokenMs),
      tokensPerSecond: rounded(facts.tokensPerSecond)
    },
    route: route.map(({ peer, start, end, isLocal }) => ({
      peer: isLocal === true ? 'here' : peer,
      start,
      end
    }))
  }
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10
}
