// One answer as it becomes: pieces of text that are certain, then why it ended and what it took.
// Knows no HTTP and no messages: a prompt is ids.
import { systemClock, type Clock } from '../../base/clock.ts'
import { toAppError, type ErrorCode } from '../../base/errors.ts'
import type {
  GenerateOptions,
  GeneratedToken,
  GenerationStats,
  Generator
} from '../../client/text/generate.ts'
import { recordLogProbs, type DrawnLogProb } from '../../client/text/logits.ts'
import type { AnswerEnd } from './answer-end.ts'
import { StopMatcher } from './stop-matcher.ts'
import type { RouteHop } from '../../client/route/route.ts'
import type { Borrowed, Lender, RouteNews } from './text-model.ts'

export interface AnswerOptions extends GenerateOptions {
  /** Texts that end the answer, which does not have them. */
  readonly stop?: readonly string[]
  /** Most probable ids to tell beside each drawn one. Default: no probabilities at all. */
  readonly logProbs?: number | undefined
  /** Called once, when the prompt is computed: other answers may begin with what it left. */
  readonly onbegun?: (() => void) | undefined
  /** Told of fail-overs while it is made. */
  readonly onnews?: ((news: RouteNews) => void) | undefined
  readonly clock?: Clock
}

export interface AnswerPiece {
  readonly text: string
  /** Tokens that were drawn since the piece before. */
  readonly tokens: number
  /** Of the ids that the text came from, where they were asked for. */
  readonly logProbs: readonly DrawnLogProb[]
}

export type { AnswerEnd, AnswerTimes } from './answer-end.ts'

/** @throws AppError what the model throws; the session it ran on is then given up */
export async function* answer(
  model: Lender,
  prompt: readonly number[],
  options: AnswerOptions = {}
): AsyncGenerator<AnswerPiece, AnswerEnd> {
  const { stop = [], logProbs, onbegun, onnews, clock = systemClock, ...rest } = options
  const began = clock.now()
  const matcher = new StopMatcher(stop)
  let drawn: DrawnLogProb[] = []
  let told = 0
  const recorder =
    logProbs === undefined ? [] : [recordLogProbs(logProbs, (one) => drawn.push(one))]
  const processors = [...(rest.processors ?? []), ...recorder]
  const begun = await begin(model, prompt, { ...rest, processors }, onnews)
  const promptMs = clock.now() - began
  onbegun?.()
  await using borrowed = begun.borrowed
  const { generator } = borrowed
  const { tokens } = begun
  let finish: AnswerEnd['finish'] = 'stop'
  let stopped: string | undefined
  const piece = (text: string): AnswerPiece => {
    const { newTokens } = generator.stats
    const made = { text, tokens: newTokens - told, logProbs: drawn }
    drawn = []
    told = newTokens
    return made
  }
  const tellRoute = routeTeller(() => borrowed.route(), onnews)
  try {
    for (let step = begun.first; ; step = await tokens.next()) {
      tellRoute()
      if (step.done) {
        finish = step.value.finish === 'stop' ? 'stop' : 'length'
        const text = matcher.end()
        if (text !== '') yield piece(text)
        break
      }
      const cut = matcher.push(step.value.text)
      if (cut.text !== '') yield piece(cut.text)
      stopped = cut.stop
      if (stopped !== undefined) break
    }
  } catch (error) {
    spoil(borrowed, error)
    throw error
  } finally {
    await tokens.return(generator.stats)
  }
  const { promptTokens, reusedTokens, newTokens } = generator.stats
  const predictedMs = clock.now() - began - promptMs
  const end: AnswerEnd = {
    finish,
    route: borrowed.route(),
    stop: stopped,
    promptTokens,
    cachedTokens: reusedTokens,
    newTokens,
    times: {
      cache_n: reusedTokens,
      prompt_n: promptTokens - reusedTokens,
      prompt_ms: promptMs,
      prompt_per_second: perSecond(promptTokens - reusedTokens, promptMs),
      predicted_n: newTokens,
      predicted_ms: predictedMs,
      predicted_per_second: perSecond(newTokens, predictedMs)
    }
  }
  model.listener?.answered(end)
  return end
}

interface Begun {
  readonly borrowed: Borrowed
  readonly tokens: ReturnType<Generator['generate']>
  readonly first: IteratorResult<GeneratedToken, GenerationStats>
}

/**
 * The first token, on a session that servers took; one that they refused waits until another answer
 * gives one back.
 */
async function begin(
  model: Lender,
  prompt: readonly number[],
  options: GenerateOptions,
  onnews: AnswerOptions['onnews']
): Promise<Begun> {
  for (let isAgain = false; ; isAgain = true) {
    const borrowed = await model.borrow(prompt, { signal: options.signal, onnews, isAgain })
    try {
      const tokens = borrowed.generator.generate(prompt, options)
      return { borrowed, tokens, first: await tokens.next() }
    } catch (error) {
      const { code, retryable } = toAppError(error)
      const isWorthIt = retryable && REFUSALS.has(code) && borrowed.refused?.() === true
      spoil(borrowed, error)
      await borrowed[Symbol.asyncDispose]()
      if (!isWorthIt) throw error
    }
  }
}

/** With these, and told that it may be tried again, a server takes no more sessions now. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['LIMIT', 'BUSY', 'NO_MEMORY'])

function spoil(borrowed: Borrowed, error: unknown): void {
  if (toAppError(error).code !== 'CANCELLED') borrowed.spoil()
}

/** Tells the route when it is another one than before. */
function routeTeller(
  routeOf: () => readonly RouteHop[],
  onnews: AnswerOptions['onnews']
): () => void {
  let told = ''
  return () => {
    if (!onnews) return
    const route = routeOf()
    const text = route.map(({ start, end, peer }) => `${start}:${end} ${peer}`).join(', ')
    if (text === told) return
    told = text
    onnews({ kind: 'route', text, route })
  }
}

function perSecond(count: number, ms: number): number {
  return ms > 0 ? (1000 * count) / ms : 0
}
