// Streams: what becomes the status and what an event, that silence is filled, and several answers
// at once.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { eventStream, type EventWriter } from '../../src/api/http/sse.ts'
import { AppError } from '../../src/base/errors.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { localApi, MODEL, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(60_000)

let api: LocalApi

beforeAll(async () => {
  api = await localApi()
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

function post(path: string, body: object, url = api.url): Promise<Response> {
  return fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify({ model: MODEL, ...body }) })
}

const STORY = 'Once upon a time'
const messages = [{ role: 'user', content: STORY }]

/** The JSON of data lines. */
function events<T>(text: string): T[] {
  const lines = text.split('\n').filter((line) => line.startsWith('data: {'))
  return lines.map((line) => JSON.parse(line.slice(6)) as T)
}

describe('an event stream', () => {
  const open = (write: (writer: EventWriter) => Promise<void>, clock: FakeClock) =>
    eventStream(write, { clock, abort: new AbortController() })

  test('throws what goes wrong before its first event, so that it becomes the status', async () => {
    const clock = new FakeClock()
    const failing = open(() => Promise.reject(new AppError('NO_ROUTE', 'nobody')), clock)
    expect(await failing.catch((error: unknown) => error)).toMatchObject({ code: 'NO_ROUTE' })
    expect(clock.pending).toBe(0)
  })

  test('begins with its first event, and tells what goes wrong then as an event', async () => {
    const response = await open(async (writer) => {
      writer.data({ first: true })
      throw new AppError('NO_ROUTE', 'nobody')
    }, new FakeClock())
    const [first, second] = events<object>(await response.text())
    expect(first).toEqual({ first: true })
    expect(second).toMatchObject({ error: { code: 'no_route' } })
  })

  test('that waits long begins all the same, and comments fill the silence', async () => {
    const clock = new FakeClock()
    const model = Promise.withResolvers<string>()
    const opening = open(async (writer) => writer.data(await model.promise), clock)
    await clock.advance(4999)
    await clock.advance(30_001)
    const response = await opening
    expect(response.status).toBe(200)
    model.reject(new AppError('UNAVAILABLE', 'no hub'))
    const text = await response.text()
    expect(text.match(/: keep-alive/g)?.length).toBe(3)
    expect(events<object>(text)).toMatchObject([{ error: { code: 'unavailable' } }])
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(clock.pending).toBe(0)
  })
})

test.each([
  ['/v1/chat/completions', { messages: [{ role: 'user', content: STORY.repeat(400) }] }],
  ['/v1/completions', { prompt: STORY.repeat(400) }],
  ['/v1/responses', { input: STORY.repeat(400) }],
  ['/v1/messages', { messages: [{ role: 'user', content: STORY.repeat(400) }], max_tokens: 4 }]
])('%s refuses a prompt over the context with 400, streamed too', async (path, body) => {
  for (const stream of [false, true]) {
    const response = await post(path, { ...body, stream })
    expect(response.status).toBe(400)
    expect(await response.text()).toContain("the model's context is 512")
  }
})

test('a stream that nobody can serve has the status of that', async () => {
  await using failing = await localApi()
  failing.model.borrow = () => Promise.reject(new AppError('NO_ROUTE', 'Nobody serves block 3'))
  const response = await post('/v1/chat/completions', { messages, stream: true }, failing.url)
  expect(response.status).toBe(503)
  expect(await response.json()).toMatchObject({ error: { code: 'no_route' } })
})

test('a model that fails to open is told as a status, or as an event when it took long', async () => {
  const model = Promise.withResolvers<never>()
  model.promise.catch(() => {})
  const clock = new FakeClock()
  const models = { names: [MODEL], take: () => model.promise }
  await using slow = await localApi({ models, clock })
  const asked = post('/v1/chat/completions', { messages, stream: true }, slow.url)
  while (clock.pending === 0) await Bun.sleep(1)
  await clock.advance(5000)
  const response = await asked
  expect(response.status).toBe(200)
  model.reject(new AppError('UNAVAILABLE', 'No hub'))
  expect(await response.text()).toContain('"code":"unavailable"')
  const late = await post('/v1/chat/completions', { messages, stream: true }, slow.url)
  expect(late.status).toBe(503)
})

test.each([
  ['/v1/messages', { messages, max_tokens: 4 }, ['ping', 'ping', 'message_start']],
  [
    '/v1/responses',
    { input: STORY, max_output_tokens: 4 },
    [
      'response.created',
      'response.in_progress',
      'response.in_progress',
      'response.output_item.added'
    ]
  ]
])(
  '%s fills silence with events, since its clients count those alone',
  async (path, body, first) => {
    const clock = new FakeClock()
    await using slow = await localApi({ clock })
    const { borrow } = slow.model
    const turn = Promise.withResolvers<void>()
    const waits = Promise.withResolvers<void>()
    slow.model.borrow = async (...args) => {
      waits.resolve()
      await turn.promise
      return borrow.apply(slow.model, args)
    }
    const asked = post(path, { ...body, stream: true }, slow.url)
    await waits.promise
    await clock.advance(20_000)
    const response = await asked
    turn.resolve()
    const named = (await response.text()).match(/^event: .*$/gm) ?? []
    expect(named.slice(0, first.length)).toEqual(first.map((name) => `event: ${name}`))
  }
)

interface Chunk {
  choices: { index: number; text?: string; delta?: { content?: string }; finish_reason?: string }[]
  usage?: { prompt_tokens: number; completion_tokens: number } | null
}

describe('several answers to one prompt', () => {
  const ask = { messages, temperature: 1, max_tokens: 40 }

  async function alone(seed: number): Promise<string> {
    const response = await post('/v1/chat/completions', { ...ask, seed })
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] }
    return choices[0]!.message.content
  }

  test('are those of one after the other, made at the same time, interleaved', async () => {
    // Opens their sessions, which takes longer here than an answer.
    await (await post('/v1/chat/completions', { ...ask, n: 3 })).json()
    const response = await post('/v1/chat/completions', {
      ...ask,
      seed: 7,
      n: 3,
      stream: true,
      stream_options: { include_usage: true }
    })
    const chunks = events<Chunk>(await response.text())
    const texts = ['', '', '']
    const order: number[] = []
    for (const { choices } of chunks) {
      for (const { index, delta } of choices) {
        texts[index] += delta?.content ?? ''
        if (delta?.content) order.push(index)
      }
    }
    expect(texts).toEqual([await alone(7), await alone(8), await alone(9)])
    // The first has not ended when the second begins, nor the second when the third does.
    expect(order.indexOf(1)).toBeLessThan(order.lastIndexOf(0))
    expect(order.indexOf(2)).toBeLessThan(order.lastIndexOf(1))
    const finishes = chunks.flatMap(({ choices }) => choices.filter((one) => one.finish_reason))
    expect(finishes.map(({ index }) => index).toSorted()).toEqual([0, 1, 2])
    expect(chunks.at(-1)).toMatchObject({ choices: [] })
    expect(chunks.at(-1)?.usage?.completion_tokens).toBeGreaterThan(40)
  })

  test('of several texts are counted from text to text, and each text once', async () => {
    const body = { prompt: [STORY, 'The cat'], n: 2, seed: 3, temperature: 1, max_tokens: 8 }
    const whole = (await (await post('/v1/completions', body)).json()) as Chunk
    expect(whole.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    const single = async (prompt: string, seed: number): Promise<string | undefined> => {
      const response = await post('/v1/completions', { ...body, prompt, seed, n: 1 })
      return ((await response.json()) as Chunk).choices[0]?.text
    }
    expect(whole.choices.map(({ text }) => text)).toEqual([
      await single(STORY, 3),
      await single(STORY, 4),
      await single('The cat', 3),
      await single('The cat', 4)
    ])
    const prompts = [STORY, 'The cat'].map(
      (text) => api.model.local.tokenizer.encode(text, { addSpecial: true }).length
    )
    expect(whole.usage?.prompt_tokens).toBe(prompts[0]! + prompts[1]!)
  })

  test('end when one of them fails, and more than the limit are refused', async () => {
    await using failing = await localApi()
    const { borrow } = failing.model
    let count = 0
    failing.model.borrow = (...args) =>
      count++ === 1
        ? Promise.reject(new AppError('NO_ROUTE', 'Nobody'))
        : borrow.apply(failing.model, args)
    const body = { ...ask, max_tokens: 400, n: 3 }
    const response = await post('/v1/chat/completions', body, failing.url)
    expect(response.status).toBe(503)
    while (failing.model.active > 0) await Bun.sleep(1)
    expect(failing.model.active).toBe(0)
    expect((await post('/v1/chat/completions', { ...ask, n: 9 })).status).toBe(400)
    const many = await post('/v1/completions', { prompt: Array(40).fill('a'), n: 2 })
    expect(many.status).toBe(400)
  })
})
