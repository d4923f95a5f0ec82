// POST /v1/completions: text to the text that follows it, with echo and logprobs.
import { logProbOf, type DrawnLogProb } from '../../client/text/logits.ts'
import {
  answer,
  type AnswerEnd,
  type AnswerOptions,
  type AnswerPiece
} from '../../library/text/answer.ts'
import { checkLength, collect, usageOf, type EndpointContext } from './chat-completions.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'
import { samplingOf } from './sampling.ts'
import { eventStream } from './sse.ts'

/** What clients expect when they do not say. */
const DEFAULT_TOKENS = 16
const MOST_PROMPTS = 64
const MOST_TOP = 20

export async function completions(fields: Fields, context: EndpointContext): Promise<Response> {
  const { model, created, abort, newId } = context
  const { local } = model
  const { vocabSize, contextLength } = local.config
  fields.refuse('suffix', 'the model fills nothing in')
  fields.refuse('best_of', 'ask for one answer')
  if ((fields.integer('n', 1, 1) ?? 1) !== 1) throw new TypeError('n is 1')
  const prompts = promptsOf(fields, context)
  const echo = fields.boolean('echo') === true
  const top = fields.integer('logprobs', 0, MOST_TOP)
  const sampling = samplingOf(fields, { vocabSize, contextLength })
  const given = fields.has('max_tokens') || fields.has('max_completion_tokens')
  const options: AnswerOptions = {
    ...sampling,
    ...(given ? {} : { maxTokens: DEFAULT_TOKENS }),
    ...(top === undefined ? {} : { logProbs: top }),
    signal: abort.signal
  }
  const head = { id: newId('cmpl'), object: 'text_completion', created, model: model.id }
  const one = async (
    index: number,
    onpiece: (text: string, drawn: readonly DrawnLogProb[]) => void
  ) => {
    const prompt = prompts[index] ?? []
    if (echo) onpiece(local.tokenizer.decode(prompt, { skipSpecial: false }), await echoed(prompt))
    return collect(answer(model, prompt, options), ({ text, logProbs }: AnswerPiece) =>
      onpiece(text, logProbs)
    )
  }
  /** How probable each id of the prompt was behind those before it. */
  const echoed = async (prompt: readonly number[]): Promise<DrawnLogProb[]> => {
    if (top === undefined) return []
    const logits = await promptLogits(context, prompt)
    return prompt.slice(1).map((id, i) => logProbOf(logits[i] ?? new Float32Array(0), id, top))
  }
  const logprobsOf = (drawn: readonly DrawnLogProb[]): object | null =>
    top === undefined
      ? null
      : legacyLogProbs(drawn, (id) => local.tokenizer.decode([id], { skipSpecial: false }))
  if (fields.boolean('stream') === true) {
    return eventStream(
      async (writer) => {
        const ends: AnswerEnd[] = []
        for (const index of prompts.keys()) {
          const end = await one(index, (text, drawn) =>
            writer.data({
              ...head,
              choices: [{ index, text, logprobs: logprobsOf(drawn), finish_reason: null }]
            })
          )
          ends.push(end)
          writer.data({
            ...head,
            choices: [{ index, text: '', logprobs: null, finish_reason: end.finish }]
          })
        }
        if (fields.object('stream_options')?.boolean('include_usage') === true) {
          writer.data({ ...head, choices: [], usage: usageOf(ends) })
        }
      },
      { abort }
    )
  }
  const choices: object[] = []
  const ends: AnswerEnd[] = []
  for (const index of prompts.keys()) {
    let whole = ''
    const all: DrawnLogProb[] = []
    const end = await one(index, (text, drawn) => {
      whole += text
      all.push(...drawn)
    })
    ends.push(end)
    choices.push({ index, text: whole, logprobs: logprobsOf(all), finish_reason: end.finish })
  }
  return Response.json({ ...head, choices, usage: usageOf(ends), timings: ends.at(-1)?.times })
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
      const ids = tokenizer.encode(entry, { addSpecial: true, parseSpecial: true })
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

/** Logits behind each id of a prompt but the last: (ids - 1) rows. */
async function promptLogits(
  { model, abort }: EndpointContext,
  prompt: readonly number[]
): Promise<Float32Array[]> {
  await using borrowed = await model.borrow([])
  const rows = await borrowed.generator.logits(prompt, {
    rows: prompt.length,
    signal: abort.signal
  })
  return rows
}

function legacyLogProbs(drawn: readonly DrawnLogProb[], textOf: (id: number) => string): object {
  return {
    tokens: drawn.map(({ id }) => textOf(id)),
    token_logprobs: drawn.map(({ logprob }) => logprob),
    top_logprobs: drawn.map(({ top }) =>
      Object.fromEntries(top.map(({ id, logprob }) => [textOf(id), logprob]))
    ),
    text_offset: []
  }
}
