// POST /v1/completions: text to the text that follows it, with echo and logprobs.
import { logProbOf, type DrawnLogProb } from '../../client/text/logits.ts'
import {
  answer,
  type AnswerEnd,
  type AnswerOptions,
  type AnswerPiece
} from '../../library/text/answer.ts'
import { checkLength, seedOf, withinContext } from './chat-request.ts'
import {
  choicesPerPrompt,
  preparedChoices,
  type ChoiceHooks,
  type ChoiceTeller
} from './choices.ts'
import type { Endpoint, EndpointContext, Prepared } from './endpoint.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'
import { tokenText } from './log-prob-text.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'

/** What clients expect when they do not say. */
const DEFAULT_TOKENS = 16
const MOST_PROMPTS = 64
const MOST_TOP = 20

/** What of one text is certain. */
type Part = Omit<AnswerPiece, 'tokens'>

export function completions(fields: Fields): Endpoint {
  return { prepare: (context) => prepare(fields, context) }
}

/** @throws RequestError */
function prepare(fields: Fields, context: EndpointContext): Prepared {
  const { model } = context
  fields.refuse('suffix', 'the model fills nothing in between')
  const top = fields.integer('logprobs', 0, MOST_TOP)
  const given = fields.has('max_tokens') || fields.has('max_completion_tokens')
  const constraint = readResponseFormat(fields)
  const compiled = constraint && model.constraints.compile(constraint)
  const sampling = (): AnswerOptions => {
    const options = samplingOf(fields, model.local.config)
    const held = compiled ? [compiled.processor()] : []
    return { ...options, processors: [...(options.processors ?? []), ...held] }
  }
  const options = (choice: number): AnswerOptions => {
    const own = sampling()
    return {
      ...own,
      ...seedOf(own, choice),
      ...(given ? {} : { maxTokens: DEFAULT_TOKENS }),
      ...(top === undefined ? {} : { logProbs: top })
    }
  }
  // What cannot be used is told before the answer begins.
  options(0)
  const prompts = promptsOf(fields, context)
  const perPrompt = choicesPerPrompt(fields, prompts.length)
  if ((fields.integer('best_of', 1, perPrompt) ?? perPrompt) !== perPrompt) {
    throw new RequestError("'best_of' must be as large as 'n': all answers are given", {
      code: 'unsupported_parameter',
      param: 'best_of'
    })
  }
  const echo = fields.boolean('echo') === true
  const echoes = prompts.map((prompt) => echoOf(prompt, top, context))
  return preparedChoices<Part, AnswerEnd>(
    {
      idPrefix: 'cmpl',
      object: 'text_completion',
      chunkObject: 'text_completion',
      prompts: prompts.length,
      perPrompt,
      async *make(place, hooks) {
        const prompt = prompts[place.prompt] ?? []
        if (echo) yield (await echoes[place.prompt]?.(hooks)) ?? { text: '', logProbs: [] }
        return yield* answer(model, prompt, { ...options(place.choice), ...hooks })
      },
      teller: () => textTeller(top !== undefined, context)
    },
    context,
    fields
  )
}

/** A prompt as the first part of its answers, computed when it is first asked for. */
function echoOf(
  prompt: readonly number[],
  top: number | undefined,
  context: EndpointContext
): (hooks: ChoiceHooks) => Promise<Part> {
  let made: Promise<Part> | undefined
  const make = async ({ signal }: ChoiceHooks): Promise<Part> => ({
    text: context.model.local.tokenizer.decode(prompt),
    logProbs: top === undefined ? [] : await promptLogProbs(prompt, { top, signal }, context)
  })
  return (hooks) => (made ??= make(hooks))
}

/** How probable each id of a prompt was behind those before it; of the first nothing is known. */
async function promptLogProbs(
  prompt: readonly number[],
  { top, signal }: { top: number; signal: AbortSignal },
  { model }: EndpointContext
): Promise<DrawnLogProb[]> {
  await using borrowed = await model.borrow(prompt, { signal })
  const { generator } = borrowed
  const rows = await generator.logits(prompt, { rows: prompt.length, signal })
  return prompt.map((id, i) => {
    const logits = rows[i - 1]
    return logits ? logProbOf(logits, id, top) : { id, logprob: Number.NaN, top: [] }
  })
}

/** Tells a text's parts, and puts them together. */
function textTeller(
  withLogProbs: boolean,
  { model }: EndpointContext
): ChoiceTeller<Part, AnswerEnd> {
  let all = ''
  const drawn: DrawnLogProb[] = []
  const { tokenizer } = model.local
  const logProbsOf = (some: readonly DrawnLogProb[], offset: number): object | null =>
    withLogProbs ? legacyLogProbs(some, (id) => tokenText(tokenizer, id), offset) : null
  return {
    part({ text, logProbs }) {
      const told = { text, logprobs: logProbsOf(logProbs, all.length) }
      all += text
      drawn.push(...logProbs)
      return told
    },
    closing: { text: '' },
    whole: ({ finish }) => ({ text: all, logprobs: logProbsOf(drawn, 0), finish_reason: finish })
  }
}

/** One text, several, one list of ids, or several. @throws RequestError */
function promptsOf(fields: Fields, { model }: EndpointContext): number[][] {
  const { tokenizer, config } = model.local
  const raw = fields.raw('prompt')
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'number')
  const list: unknown[] = Array.isArray(raw) && !isIds(raw) ? raw : [raw]
  if (raw === undefined || list.length === 0 || list.length > MOST_PROMPTS) {
    throw new RequestError(`'prompt' must be a text, ids, or at most ${MOST_PROMPTS} of them`, {
      param: 'prompt'
    })
  }
  return list.map((entry) => {
    if (typeof entry === 'string') {
      const maxTokens = config.contextLength
      const ids = withinContext(() =>
        tokenizer.encode(entry, { addSpecial: true, parseSpecial: true, maxTokens })
      )
      checkLength(ids, config.contextLength)
      return ids
    }
    if (
      isIds(entry) &&
      entry.every((id) => Number.isInteger(id) && id >= 0 && id < config.vocabSize)
    ) {
      checkLength(entry, config.contextLength)
      return entry
    }
    throw new RequestError("'prompt' must be a text or ids of the model's vocabulary", {
      param: 'prompt'
    })
  })
}

/**
 * As lm-eval reads them: null for what nothing is known of.
 * @param offset where the first token begins in the text
 */
function legacyLogProbs(
  drawn: readonly DrawnLogProb[],
  textOf: (id: number) => string,
  offset: number
): object {
  const tokens = drawn.map(({ id }) => textOf(id))
  const known = (logprob: number): number | null => (Number.isNaN(logprob) ? null : logprob)
  let at = offset
  return {
    tokens,
    token_logprobs: drawn.map(({ logprob }) => known(logprob)),
    top_logprobs: drawn.map(({ logprob, top }) =>
      known(logprob) === null
        ? null
        : Object.fromEntries(top.map(({ id, logprob: value }) => [textOf(id), value]))
    ),
    text_offset: tokens.map((token) => {
      at += token.length
      return at - token.length
    })
  }
}
