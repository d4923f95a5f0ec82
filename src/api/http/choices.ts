// Several answers to one request, as OpenAI's older endpoints tell them: choices with an index,
// whole or interleaved in a stream, and usage. Knows no prompts and no options; chat-completions.ts
// and completions.ts call it.
import { collect, together } from '../../library/text/together.ts'
import type { ReplyEnd } from '../../library/text/reply.ts'
import type { RouteNews } from '../../library/text/text-model.ts'
import type { EndpointContext, Prepared } from './endpoint.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'
import type { EventWriter } from './sse.ts'

/** Answers to one prompt. */
const MOST_CHOICES = 8
/** Answers to all prompts of a request. */
const MOST_ANSWERS = 64

/** What the end of an answer says for the usage. */
export type ChoiceEnd = Pick<
  ReplyEnd,
  'finish' | 'promptTokens' | 'cachedTokens' | 'newTokens' | 'times'
> & { readonly reasoningTokens?: number }

export interface ChoicePlace {
  readonly prompt: number
  /** Counted anew for each prompt. */
  readonly choice: number
}

export interface ChoiceHooks {
  readonly signal: AbortSignal
  readonly onbegun: () => void
  readonly onnews: ((news: RouteNews) => void) | undefined
}

/** Tells one answer; its fields are those of a choice. */
export interface ChoiceTeller<Part, End> {
  /** Before the first part. Default: nothing is told then. */
  readonly opening?: object
  /** Fields for a part; undefined: there is nothing to tell. */
  part(part: Part): object | undefined
  /** What is told after the last part, beside the reason. */
  readonly closing: object
  /** All of it, when it has ended. */
  whole(end: End): object
}

export interface Choices<Part, End extends ChoiceEnd> {
  readonly idPrefix: string
  readonly object: string
  /** The same of a chunk. */
  readonly chunkObject: string
  readonly prompts: number
  readonly perPrompt: number
  make(place: ChoicePlace, hooks: ChoiceHooks): AsyncGenerator<Part, End>
  teller(): ChoiceTeller<Part, End>
}

/** How many answers `n` asks for to each of `prompts`. @throws RequestError */
export function choicesPerPrompt(fields: Fields, prompts = 1): number {
  const perPrompt = fields.integer('n', 1, MOST_CHOICES) ?? 1
  if (prompts * perPrompt <= MOST_ANSWERS) return perPrompt
  throw new RequestError(
    `${prompts} prompts with ${perPrompt} answers each are too many: ${MOST_ANSWERS} answers are the most`,
    { param: 'n' }
  )
}

export function preparedChoices<Part, End extends ChoiceEnd>(
  choices: Choices<Part, End>,
  context: EndpointContext,
  fields: Fields
): Prepared {
  const { model, created } = context
  const id = context.newId(choices.idPrefix)
  const headOf = (object: string): object => ({ id, object, created, model: model.id })
  const withUsage = fields.object('stream_options')?.boolean('include_usage') === true
  return {
    async whole() {
      const made = await makeAll(choices, context, {
        tell: () => {
          const teller = choices.teller()
          return {
            part: (part) => void teller.part(part),
            end: (end, index) => ({ end, choice: choiceOf(index, teller.whole(end)) })
          }
        }
      })
      const ends = made.map((answers) => answers.map(({ end }) => end))
      return {
        ...headOf(choices.object),
        choices: made.flat().map(({ choice }) => choice),
        ...usageOf(ends)
      }
    },
    async streamed(writer) {
      const head = headOf(choices.chunkObject)
      const chunk = (index: number, fieldsOfIt: object): void => {
        const usage = withUsage ? { usage: null } : {}
        writer.data({ ...head, choices: [choiceOf(index, fieldsOfIt)], ...usage })
      }
      const ends = await makeAll(choices, context, { writer, tell: streamTeller(choices, chunk) })
      if (withUsage) writer.data({ ...head, choices: [], ...usageOf(ends) })
    }
  }
}

/** What hears of one answer. */
interface Hearer<Part, End, T> {
  part(part: Part, index: number): void
  end(end: End, index: number): T
}

function streamTeller<Part, End extends ChoiceEnd>(
  choices: Choices<Part, End>,
  chunk: (index: number, fields: object) => void
): () => Hearer<Part, End, End> {
  return () => {
    const teller = choices.teller()
    let isOpen = false
    const open = (index: number): void => {
      if (!isOpen && teller.opening) chunk(index, teller.opening)
      isOpen = true
    }
    return {
      part(part, index) {
        open(index)
        const told = teller.part(part)
        if (told) chunk(index, told)
      },
      end(end, index) {
        open(index)
        chunk(index, { ...teller.closing, finish_reason: end.finish })
        return end
      }
    }
  }
}

/** Makes all answers at the same time; by prompt and choice. @throws the first failure */
async function makeAll<Part, End extends ChoiceEnd, T>(
  choices: Choices<Part, End>,
  { abort }: EndpointContext,
  { writer, tell }: { writer?: EventWriter; tell: () => Hearer<Part, End, T> }
): Promise<T[][]> {
  const { prompts, perPrompt } = choices
  const failing = new AbortController()
  const signal = AbortSignal.any([abort.signal, failing.signal])
  const onnews = writer && ((news: RouteNews): void => writer.news(news))
  const answersTo = (prompt: number): Promise<T[]> =>
    together(perPrompt, async (choice, onbegun) => {
      const hearer = tell()
      const index = prompt * perPrompt + choice
      const items = choices.make({ prompt, choice }, { signal, onbegun, onnews })
      return hearer.end(await collect(items, (part) => hearer.part(part, index)), index)
    })
  try {
    return await Promise.all(Array.from({ length: prompts }, (_, prompt) => answersTo(prompt)))
  } catch (error) {
    // The others are not waited for: nobody will read them.
    failing.abort()
    throw error
  }
}

function choiceOf(index: number, fields: object): object {
  return { index, logprobs: null, finish_reason: null, ...fields }
}

/** Usage and times of all answers; a prompt counts once, however many answers it has. */
function usageOf(ends: readonly (readonly ChoiceEnd[])[]): object {
  const all = ends.flat()
  const sum = (some: readonly ChoiceEnd[], count: (end: ChoiceEnd) => number): number =>
    some.reduce((total, end) => total + count(end), 0)
  const firsts = ends.flatMap((answers) => answers.slice(0, 1))
  const prompt = sum(firsts, (end) => end.promptTokens)
  const made = sum(all, (end) => end.newTokens)
  return {
    usage: {
      prompt_tokens: prompt,
      completion_tokens: made,
      total_tokens: prompt + made,
      prompt_tokens_details: { cached_tokens: sum(firsts, (end) => end.cachedTokens) },
      completion_tokens_details: { reasoning_tokens: sum(all, (end) => end.reasoningTokens ?? 0) }
    },
    timings: all.at(-1)?.times
  }
}
