// Reports about answers on stderr: --stats, --trace, and that an answer was cut.
import type { Answering, Conversation } from '../../library/text/conversation.ts'
import {
  promptLine,
  sharesOf,
  statsLine,
  traceLine,
  type FinishReason,
  type GenerationStats,
  type StepShares,
  type StepTimes
} from '../../library/text/report.ts'

export type Write = (text: string) => Promise<void>
export type Answer = Answering

export interface Reporter {
  token(stats: GenerationStats): void
  done(stats: GenerationStats): void
  /** What the last answer took; undefined before one has ended. */
  readonly last: GenerationStats | undefined
  /** Why the last answer is incomplete; undefined if it is complete. */
  readonly cut: string | undefined
}

export interface ReporterOptions {
  stats: boolean
  trace: boolean
  /** The model's, in tokens. */
  contextLength: number
  /** Whether the answer is written to the terminal that stderr is. */
  isShared: boolean
  write: (text: string) => void
}

export function createReporter(
  options: ReporterOptions,
  conversation: Pick<Conversation, 'route' | 'reroutes'>
): Reporter {
  let steps: StepShares[] = []
  let latest: StepTimes | undefined
  let cut: string | undefined
  let last: GenerationStats | undefined
  const { write } = options
  return {
    get cut() {
      return cut
    },
    get last() {
      return last
    },
    token(stats) {
      const { report } = stats
      if (!options.trace || !report) return
      if (stats.newTokens === 1) write(promptLine(stats.firstTokenMs, report))
      // One trip may yield several tokens.
      const times = stats.steps.at(-1)
      if (times === latest || !times) return
      latest = times
      steps.push(sharesOf(times, report))
    },
    done(stats) {
      last = stats
      cut = cutText(stats.finish, options.contextLength)
      const lines: string[] = []
      if (options.trace && steps.length > 0) lines.push(traceLine(steps))
      if (options.stats) lines.push(statsLine(stats, conversation.route, conversation.reroutes))
      if (cut !== undefined) lines.push(`the answer was cut: ${cut}\n`)
      if (lines.length > 0) write(`${options.isShared ? '\n' : ''}${lines.join('')}`)
      steps = []
    }
  }
}

/** Why an answer ended before the model ended it; undefined if it did not. */
export function cutText(finish: FinishReason, contextLength: number): string | undefined {
  switch (finish) {
    case 'stop':
      return undefined
    case 'length':
      return '--max-tokens is reached'
    case 'context':
      return `the model's context of ${contextLength} tokens is full`
    default:
      throw new TypeError(`No answer finishes with '${String(finish)}'`)
  }
}

/** Writes an answer as it is generated, and reports it. */
export async function stream(
  answer: Answer,
  conversation: Pick<Conversation, 'stats'>,
  report: Reporter,
  write: Write
): Promise<void> {
  for (;;) {
    const step = await answer.next()
    if (step.done) return report.done(step.value)
    report.token(conversation.stats)
    await write(step.value.text)
  }
}
