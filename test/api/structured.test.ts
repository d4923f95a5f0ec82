// Answers held to a schema, a pattern or calls of tools, asked for as real clients ask.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { ChatOpenAI } from '@langchain/openai'
import { generateText, jsonSchema, Output, tool } from 'ai'
import Ajv from 'ajv/dist/2020'
import OpenAI from 'openai'
import { HERMES_TEMPLATE } from '../support/models/chat-stories.ts'
import { localApi, MODEL, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(60_000)

/** Tells tools, and has calls written, as no reader here knows. */
const FOREIGN_TEMPLATE =
  '{% if tools %}<|tools|>{{ tools | tojson }}{% endif %}' +
  '{% for message in messages %}{{ message.content }}{{ "\\n" }}{% endfor %}'

let api: LocalApi
let openai: OpenAI
let baseURL: string

beforeAll(async () => {
  api = await localApi({ template: HERMES_TEMPLATE })
  baseURL = `${api.url}/v1`
  openai = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

const messages = [{ role: 'user' as const, content: 'Once upon a time' }]
const ask = { model: MODEL, messages, temperature: 1, max_tokens: 200 }

const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 120 },
    likes: { type: 'array', items: { enum: ['cats', 'dogs'] }, maxItems: 3 }
  },
  required: ['name', 'age', 'likes'],
  additionalProperties: false
}
const isPerson = new Ajv().compile(PERSON)

const WEATHER = {
  name: 'get_weather',
  description: 'The weather of a city',
  parameters: {
    type: 'object',
    properties: { city: { enum: ['Oslo', 'Rome'] } },
    required: ['city'],
    additionalProperties: false
  }
}
const CLOCK = {
  name: 'clock',
  parameters: { type: 'object', properties: {}, additionalProperties: false }
}
const tools = [WEATHER, CLOCK].map((one) => ({ type: 'function' as const, function: one }))

describe('a schema', () => {
  test('holds every answer, at any temperature and seed, whole and streamed', async () => {
    const format = { type: 'json_schema' as const, json_schema: { name: 'person', schema: PERSON } }
    for (let seed = 0; seed < 8; seed++) {
      const options = { ...ask, seed, response_format: format }
      const { choices } = await openai.chat.completions.create(options)
      const { content } = choices[0]!.message
      expect(choices[0]!.finish_reason).toBe('stop')
      expect({ content, valid: isPerson(JSON.parse(content!)) }).toEqual({ content, valid: true })
      let streamed = ''
      for await (const chunk of await openai.chat.completions.create({
        ...options,
        stream: true
      })) {
        streamed += chunk.choices[0]?.delta.content ?? ''
      }
      expect(streamed).toBe(content!)
    }
  })

  test('holds beside speculation: guesses that do not fit are not drawn', async () => {
    const text = '{"name": "Lily", "age": 7, "likes": ["cats"]} '.repeat(4)
    const { choices } = await openai.chat.completions.create({
      ...ask,
      temperature: 0,
      messages: [{ role: 'user', content: text }],
      response_format: { type: 'json_schema', json_schema: { name: 'person', schema: PERSON } }
    })
    expect(isPerson(JSON.parse(choices[0]!.message.content!))).toBe(true)
  })

  test('an answer that max_tokens cuts says so', async () => {
    const { choices } = await openai.chat.completions.create({
      ...ask,
      max_tokens: 3,
      response_format: { type: 'json_object' }
    })
    expect(choices[0]!.finish_reason).toBe('length')
  })

  test('what cannot be held is a 400 that names it', async () => {
    const schema = { type: 'array', uniqueItems: true }
    const failed = await openai.chat.completions
      .create({
        ...ask,
        response_format: { type: 'json_schema', json_schema: { name: 'a', schema } }
      })
      .catch((error: unknown) => error)
    expect(failed).toMatchObject({ status: 400 })
    expect(String(failed)).toContain('uniqueItems')
  })

  test('is what the AI SDK, LangChain and the Responses interface ask for', async () => {
    const provider = createOpenAICompatible({
      name: 'petals',
      baseURL,
      supportsStructuredOutputs: true
    })
    const { output } = await generateText({
      model: provider(MODEL),
      prompt: 'Once upon a time',
      output: Output.object({ schema: jsonSchema<object>(PERSON) }),
      maxRetries: 0
    })
    expect(isPerson(output)).toBe(true)
    const chat = new ChatOpenAI({
      model: MODEL,
      apiKey: 'none',
      maxRetries: 0,
      configuration: { baseURL }
    })
    const person: unknown = await chat
      .withStructuredOutput(PERSON, { name: 'person', method: 'jsonSchema' })
      .invoke('Once upon a time')
    expect(isPerson(person)).toBe(true)
    const { output_text: text } = await openai.responses.create({
      model: MODEL,
      input: 'Once upon a time',
      text: { format: { type: 'json_schema', name: 'person', schema: PERSON } }
    })
    expect(isPerson(JSON.parse(text))).toBe(true)
  })
})

test('a pattern and choices hold, as vLLM names them', async () => {
  const send = async (more: object): Promise<string> => {
    const { choices } = await openai.chat.completions.create({ ...ask, ...more })
    return choices[0]!.message.content ?? ''
  }
  expect(await send({ guided_regex: '[a-f]{4}-\\d{2}' })).toMatch(/^[a-f]{4}-\d{2}$/)
  expect(['yes', 'no']).toContain(await send({ guided_choice: ['yes', 'no'] }))
  expect(['yes', 'no']).toContain(await send({ structured_outputs: { choice: ['yes', 'no'] } }))
})

test('tokens of thoughts are counted apart, by chat and by responses', async () => {
  const thinking = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>' }}"
  await using own = await localApi({ template: thinking })
  const client = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const chat = await client.chat.completions.create({ ...ask, max_tokens: 9 })
  expect(chat.usage?.completion_tokens_details?.reasoning_tokens).toBe(9)
  const response = await client.responses.create({
    model: MODEL,
    input: 'Once upon a time',
    max_output_tokens: 9
  })
  expect(response.usage?.output_tokens_details.reasoning_tokens).toBe(9)
  const plain = await openai.chat.completions.create({ ...ask, max_tokens: 9 })
  expect(plain.usage?.completion_tokens_details?.reasoning_tokens).toBe(0)
})

describe('tools', () => {
  test('that must be called are called, with arguments of their schema', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const { choices } = await openai.chat.completions.create({
        ...ask,
        seed,
        tools,
        tool_choice: 'required',
        parallel_tool_calls: false
      })
      const [choice] = choices
      expect(choice!.finish_reason).toBe('tool_calls')
      const calls = choice!.message.tool_calls!
      expect(calls.length).toBe(1)
      const [call] = calls
      if (call?.type !== 'function') throw new Error('no function is called')
      const given = JSON.parse(call.function.arguments) as { city?: string }
      if (call.function.name === 'clock') expect(given).toEqual({})
      else expect(['Oslo', 'Rome']).toContain(given.city ?? '')
      expect(call.id.length).toBeGreaterThan(8)
    }
  })

  test('one by name, in a stream whose deltas the stream() helper puts together', async () => {
    const runner = openai.chat.completions.stream({
      ...ask,
      tools,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      parallel_tool_calls: false
    })
    const completion = await runner.finalChatCompletion()
    const calls = completion.choices[0]!.message.tool_calls!
    expect(completion.choices[0]!.finish_reason).toBe('tool_calls')
    for (const call of calls) {
      if (call.type !== 'function') throw new Error('no function is called')
      expect(call.function.name).toBe('get_weather')
      const { city } = JSON.parse(call.function.arguments) as { city: string }
      expect(['Oslo', 'Rome']).toContain(city)
    }
  })

  test('results go back to the model', async () => {
    const { choices } = await openai.chat.completions.create({
      ...ask,
      temperature: 0,
      max_tokens: 8,
      tools,
      messages: [
        ...messages,
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'call_1', type: 'function', function: { name: 'clock', arguments: '{}' } }
          ]
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'It is noon.' }
      ]
    })
    expect(choices[0]!.message.content!.length).toBeGreaterThan(3)
  })

  test("are called through Anthropic's interface and the AI SDK", async () => {
    const client = new Anthropic({ baseURL: api.url, apiKey: 'none', maxRetries: 0 })
    const { content, stop_reason: reason } = await client.messages.create({
      model: MODEL,
      messages,
      max_tokens: 200,
      tools: [
        { name: WEATHER.name, input_schema: WEATHER.parameters as Anthropic.Tool.InputSchema }
      ],
      tool_choice: { type: 'tool', name: WEATHER.name, disable_parallel_tool_use: true }
    })
    expect(reason).toBe('tool_use')
    const [block] = content
    if (block?.type !== 'tool_use') throw new Error('no tool is used')
    expect(['Oslo', 'Rome']).toContain((block.input as { city: string }).city)
    const provider = createOpenAICompatible({ name: 'petals', baseURL })
    const { toolCalls } = await generateText({
      model: provider(MODEL),
      prompt: 'Once upon a time',
      tools: {
        get_weather: tool({
          inputSchema: jsonSchema<{ city: string }>(WEATHER.parameters as never)
        })
      },
      toolChoice: 'required',
      maxRetries: 0
    })
    expect(toolCalls.length).toBeGreaterThan(0)
    expect(toolCalls[0]!.toolName).toBe('get_weather')
  })

  test('called in the Responses interface come as items, with events of their own', async () => {
    const events: string[] = []
    let given = ''
    for await (const event of await openai.responses.create({
      model: MODEL,
      input: 'Once upon a time',
      tools: [{ type: 'function', ...WEATHER, strict: true }, { type: 'web_search' } as never],
      tool_choice: 'required',
      parallel_tool_calls: false,
      stream: true
    })) {
      events.push(event.type)
      if (event.type === 'response.function_call_arguments.done') given = event.arguments
    }
    expect(['Oslo', 'Rome']).toContain((JSON.parse(given) as { city: string }).city)
    expect(events).toContain('response.function_call_arguments.delta')
    expect(events.at(-1)).toBe('response.completed')
  })

  test.each([
    ['a template whose calls cannot be read', FOREIGN_TEMPLATE, undefined],
    ['a response template', HERMES_TEMPLATE, { template: { fields: [] }, shown: [] }]
  ])('that must be called are, with %s', async (_, template, format) => {
    await using own = await localApi({ template })
    if (format) Object.assign(own.model, { format })
    const client = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const { choices } = await client.chat.completions.create({
      ...ask,
      tools,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      parallel_tool_calls: false
    })
    const [call] = choices[0]!.message.tool_calls ?? []
    if (call?.type !== 'function') throw new Error('no function is called')
    const { city } = JSON.parse(call.function.arguments) as { city: string }
    expect(['Oslo', 'Rome']).toContain(city)
    // Nobody is refused for offering them, and what they are is told.
    const offered = await client.chat.completions.create({ ...ask, tools, max_tokens: 1 })
    const without = await client.chat.completions.create({ ...ask, max_tokens: 1 })
    expect(offered.usage!.prompt_tokens).toBeGreaterThan(without.usage!.prompt_tokens + 20)
  })

  test('are told in words to a model whose template has no place for them', async () => {
    await using plain = await localApi()
    const client = new OpenAI({ baseURL: `${plain.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const { choices, usage } = await client.chat.completions.create({
      ...ask,
      tools,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      parallel_tool_calls: false
    })
    const [call] = choices[0]!.message.tool_calls ?? []
    if (call?.type !== 'function') throw new Error('no function is called')
    const { city } = JSON.parse(call.function.arguments) as { city: string }
    expect(['Oslo', 'Rome']).toContain(city)
    const without = await client.chat.completions.create({ ...ask, max_tokens: 1 })
    expect(usage!.prompt_tokens).toBeGreaterThan(without.usage!.prompt_tokens + 20)
  })
})
