// Programs that people use, unmodified, against the HTTP surface.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic, { NotFoundError as AnthropicNotFound } from '@anthropic-ai/sdk'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, streamText } from 'ai'
import OpenAI, { NotFoundError } from 'openai'
import { readReferences } from '../support/models/stories.ts'
import { localApi, MODEL, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(60_000)

let api: LocalApi
let openai: OpenAI
let baseURL: string

beforeAll(async () => {
  api = await localApi()
  baseURL = `${api.url}/v1`
  openai = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

const QUESTION = 'Once upon a time'
const messages = [{ role: 'user' as const, content: QUESTION }]
const GREEDY = { model: MODEL, messages, temperature: 0, max_tokens: 12 }

/** What the model says to the question, by the surface's plainest way. */
async function plainAnswer(): Promise<string> {
  const { choices } = await openai.chat.completions.create(GREEDY)
  return choices[0]?.message.content ?? ''
}

describe('openai', () => {
  test('lists and looks up models', async () => {
    const ids: string[] = []
    for await (const model of openai.models.list()) ids.push(model.id)
    expect(ids).toEqual([MODEL])
    expect((await openai.models.retrieve(MODEL)).object).toBe('model')
    const missing = await openai.models.retrieve('gpt-4').catch((error: unknown) => error)
    expect(missing).toBeInstanceOf(NotFoundError)
    expect(missing).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
  })

  test('a whole answer and a streamed one are the same, with usage where it is asked for', async () => {
    const whole = await openai.chat.completions.create(GREEDY)
    const stream = await openai.chat.completions.create({
      ...GREEDY,
      stream: true,
      stream_options: { include_usage: true }
    })
    let text = ''
    const finishes: (string | null)[] = []
    let usage: OpenAI.CompletionUsage | null | undefined
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      if (chunk.choices[0]?.finish_reason) finishes.push(chunk.choices[0].finish_reason)
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(whole.choices[0]?.message.content ?? '')
    expect(text.length).toBeGreaterThan(10)
    expect(finishes).toEqual(['length'])
    expect(usage).toMatchObject({
      completion_tokens: 12,
      prompt_tokens: whole.usage!.prompt_tokens
    })
    expect(usage!.total_tokens).toBe(usage!.prompt_tokens + usage!.completion_tokens)
    // The second asked the same: all but one token of its prompt was held.
    expect(usage!.prompt_tokens_details?.cached_tokens).toBe(usage!.prompt_tokens - 1)
  })

  test('the stream() helper, which insists on roles and reasons, is content', async () => {
    const runner = openai.chat.completions.stream(GREEDY)
    const completion = await runner.finalChatCompletion()
    expect(completion.choices[0]?.message).toMatchObject({
      role: 'assistant',
      content: await plainAnswer()
    })
  })

  test('completions continue a text as the reference does', async () => {
    const reference = readReferences().find(({ prompt }) => prompt === QUESTION)!
    const { choices, usage } = await openai.completions.create({
      model: MODEL,
      prompt: QUESTION,
      temperature: 0,
      max_tokens: 60
    })
    expect(reference.text.startsWith(choices[0]!.text)).toBe(true)
    expect(choices[0]!.text.length).toBeGreaterThan(60)
    expect(usage).toMatchObject({ completion_tokens: 60, prompt_tokens: 5 })
  })

  test('echo with logprobs tells of each token of the prompt, as lm-eval reads it', async () => {
    const { choices } = await openai.completions.create({
      model: MODEL,
      prompt: `${QUESTION}, there was`,
      temperature: 0,
      max_tokens: 0,
      echo: true,
      logprobs: 2
    })
    const { text, logprobs } = choices[0]!
    expect(text.trim()).toBe(`${QUESTION}, there was`)
    const { tokens = [], token_logprobs: values = [], top_logprobs: tops = [] } = logprobs!
    expect(tokens.length).toBe(values.length)
    expect(values[0]).toBeNull()
    expect(values.slice(1).every((value) => value <= 0)).toBe(true)
    // A story begins like this: the model is sure of it.
    expect(values.at(-1)!).toBeGreaterThan(-1)
    const best = Object.values(tops.at(-1)!)
    expect(best.length).toBe(2)
    expect(best[0]!).toBeGreaterThanOrEqual(best[1]!)
    expect(logprobs!.text_offset?.[0]).toBe(0)
  })

  test('logprobs of a chat name the drawn token among the likeliest', async () => {
    const { choices } = await openai.chat.completions.create({
      ...GREEDY,
      logprobs: true,
      top_logprobs: 3
    })
    const content = choices[0]!.logprobs!.content!
    expect(content.length).toBe(12)
    for (const entry of content) {
      expect(entry.top_logprobs.length).toBe(3)
      expect(entry.top_logprobs[0]!.token).toBe(entry.token)
      expect(entry.logprob).toBeCloseTo(entry.top_logprobs[0]!.logprob, 6)
    }
    expect(content.map(({ token }) => token).join('')).toContain(
      choices[0]!.message.content!.trim()
    )
  })

  test('a seed gives the same text again, and n choices differ', async () => {
    const ask = () => openai.chat.completions.create({ ...GREEDY, temperature: 1, seed: 7, n: 3 })
    const [first, second] = [await ask(), await ask()]
    const texts = (one: OpenAI.ChatCompletion) => one.choices.map(({ message }) => message.content)
    expect(texts(first)).toEqual(texts(second))
    expect(new Set(texts(first)).size).toBe(3)
    expect(first.usage!.completion_tokens).toBeGreaterThan(12)
  })

  test('stop texts end the answer and are not in it', async () => {
    const answer = await plainAnswer()
    const stop = answer.slice(6, 9)
    const { choices } = await openai.chat.completions.create({ ...GREEDY, stop: [stop] })
    expect(choices[0]!.finish_reason).toBe('stop')
    expect(choices[0]!.message.content).toBe(answer.slice(0, answer.indexOf(stop)))
  })

  test('a bias of -100 keeps a token out, of 100 makes it the only one', async () => {
    const only = await openai.chat.completions.create({ ...GREEDY, logit_bias: { 426: 100 } })
    expect(only.choices[0]!.message.content).toBe('.'.repeat(12))
    const without = await openai.chat.completions.create({
      ...GREEDY,
      max_tokens: 100,
      logit_bias: { 426: -100 }
    })
    expect(without.choices[0]!.message.content).not.toContain('.')
  })

  test('responses come whole and as events', async () => {
    const input = QUESTION
    const options = { model: MODEL, input, temperature: 0, max_output_tokens: 12 }
    const whole = await openai.responses.create(options)
    expect(whole.output_text).toBe(await plainAnswer())
    expect(whole.status).toBe('incomplete')
    const events: string[] = []
    let text = ''
    let sequence = -1
    for await (const event of await openai.responses.create({ ...options, stream: true })) {
      events.push(event.type)
      expect(event.sequence_number).toBe(++sequence)
      if (event.type === 'response.output_text.delta') text += event.delta
    }
    expect(text).toBe(whole.output_text)
    expect(events[0]).toBe('response.created')
    expect(events).toContain('response.output_item.added')
    expect(events).toContain('response.output_item.done')
    expect(events.at(-1)).toBe('response.incomplete')
  })
})

describe('the AI SDK', () => {
  test('reads answers and streams of chat completions', async () => {
    const provider = createOpenAICompatible({ name: 'petals', baseURL, includeUsage: true })
    const options = {
      model: provider(MODEL),
      prompt: QUESTION,
      temperature: 0,
      maxOutputTokens: 12,
      maxRetries: 0
    }
    const { text, usage, finishReason } = await generateText(options)
    expect(text).toBe(await plainAnswer())
    expect(usage.outputTokens).toBe(12)
    expect(finishReason).toBe('length')
    let streamed = ''
    const result = streamText(options)
    for await (const more of result.textStream) streamed += more
    expect(streamed).toBe(text)
    expect((await result.usage).outputTokens).toBe(12)
  })

  test('reads responses', async () => {
    const provider = createOpenAI({ baseURL, apiKey: 'none' })
    const options = {
      model: provider(MODEL),
      prompt: QUESTION,
      temperature: 0,
      maxOutputTokens: 16,
      maxRetries: 0
    }
    const { text, usage } = await generateText(options)
    expect(text.startsWith(await plainAnswer())).toBe(true)
    expect(usage.outputTokens).toBe(16)
    let streamed = ''
    for await (const more of streamText(options).textStream) streamed += more
    expect(streamed).toBe(text)
  })
})

test('LangChain invokes and streams, with its usage', async () => {
  const chat = new ChatOpenAI({
    model: MODEL,
    temperature: 0,
    maxTokens: 12,
    apiKey: 'none',
    maxRetries: 0,
    configuration: { baseURL }
  })
  const answer = await chat.invoke(QUESTION)
  expect(answer.content).toBe(await plainAnswer())
  expect(answer.usage_metadata).toMatchObject({ output_tokens: 12 })
  let streamed = ''
  for await (const chunk of await chat.stream(QUESTION)) streamed += String(chunk.content)
  expect(streamed).toBe(String(answer.content))
})

describe("Anthropic's SDK", () => {
  const ask = { model: MODEL, messages, max_tokens: 12, temperature: 0 }

  test('answers whole and in events', async () => {
    const client = new Anthropic({ baseURL: api.url, apiKey: 'none', maxRetries: 0 })
    const whole = await client.messages.create(ask)
    expect(whole.content).toMatchObject([{ type: 'text', text: await plainAnswer() }])
    expect(whole.stop_reason).toBe('max_tokens')
    const stream = client.messages.stream(ask)
    const final = await stream.finalMessage()
    expect(final.content).toMatchObject([{ type: 'text', text: await plainAnswer() }])
    expect(final.usage.output_tokens).toBe(12)
  })

  test('counts tokens, and not those of the line that changes each time', async () => {
    const client = new Anthropic({ baseURL: api.url, apiKey: 'none', maxRetries: 0 })
    const count = (system: string) =>
      client.messages.countTokens({ model: MODEL, messages, system })
    const plain = await count('Be brief.')
    expect(plain.input_tokens).toBeGreaterThan(5)
    const billed = await count('x-anthropic-billing-header: cc_version=1; cch=0a1b2;\nBe brief.')
    expect(billed).toEqual(plain)
  })

  test('errors have its shape', async () => {
    const client = new Anthropic({ baseURL: api.url, apiKey: 'none', maxRetries: 0 })
    const failed = await client.messages
      .create({ ...ask, model: 'claude' })
      .catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(AnthropicNotFound)
    expect((failed as AnthropicNotFound).error).toMatchObject({
      type: 'error',
      error: { type: 'not_found_error' }
    })
  })
})
