// The HTTP surface towards requests that are wrong, hostile or cut short.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { connect } from 'node:net'
import { busy } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { localApi, MODEL, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(60_000)

let api: LocalApi

beforeAll(async () => {
  api = await localApi({ maxBodyBytes: 100_000, hosts: ['127.0.0.1', 'localhost'] })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

interface ErrorReply {
  error: { message: string; type: string; code: string; param: string | null }
}

async function post(
  path: string,
  body: unknown,
  headers: Record<string, string> = {}
): Promise<Response> {
  return fetch(`${api.url}${path}`, {
    method: 'POST',
    headers,
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  })
}

const messages = [{ role: 'user', content: 'Once upon a time' }]
const chat = { model: MODEL, messages, max_tokens: 4, temperature: 0 }

async function refused(body: unknown): Promise<ErrorReply['error'] & { status: number }> {
  const response = await post('/v1/chat/completions', body)
  const { error } = (await response.json()) as ErrorReply
  return { ...error, status: response.status }
}

describe('a request that cannot be used is told which field and why', () => {
  test.each([
    ['no JSON', '{"messages": [', { status: 400, code: 'invalid_json' }],
    ['no UTF-8', Uint8Array.of(0x22, 0xff, 0x22), { message: 'The body is not UTF-8' }],
    [
      'too large a number',
      '{"top_p": 1e999, "messages": [{"role": "user", "content": "a"}]}',
      { message: "'top_p' must be a number from 0 to 1, not Infinity" }
    ],
    ['an array', '[]', { status: 400, param: 'body' }],
    ['no messages', { model: MODEL }, { status: 400, param: 'messages' }],
    [
      'an unknown role that lies in every object',
      { ...chat, messages: [{ role: 'constructor', content: '' }] },
      { param: 'messages[0].role' }
    ],
    [
      'an unknown role',
      { ...chat, messages: [{ role: 'god', content: '' }] },
      { param: 'messages[0].role' }
    ],
    [
      'an image',
      {
        ...chat,
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }]
      },
      { code: 'unsupported_content' }
    ],
    ['a text as temperature', { ...chat, temperature: 'hot' }, { param: 'temperature' }],
    ['top_p over 1', { ...chat, top_p: 2 }, { param: 'top_p' }],
    ['too many choices', { ...chat, n: 100 }, { param: 'n' }],
    ['a bias of no token', { ...chat, logit_bias: { '999999': 1 } }, { status: 400 }],
    [
      'old functions',
      { ...chat, functions: [] },
      { code: 'unsupported_parameter', param: 'functions' }
    ],
    ['another model', { ...chat, model: 'gpt-4' }, { status: 404, code: 'model_not_found' }]
  ])('%s', async (_, body, expected) => {
    const error = await refused(body)
    expect(error).toMatchObject({ status: 400, ...expected })
    expect(error.message.length).toBeGreaterThan(10)
  })

  test('a prompt over the context says both lengths', async () => {
    const content = 'Once upon a time there was a cat. '.repeat(200)
    const response = await post('/v1/chat/completions', {
      ...chat,
      messages: [{ role: 'user', content }]
    })
    expect(response.status).toBe(400)
    const { error } = (await response.json()) as ErrorReply & { error: { n_ctx?: number } }
    expect(error.code).toBe('context_length_exceeded')
    expect(error.n_ctx).toBe(512)
  })
})

test('errors give advice to who asked, and keep what is for who started the server', async () => {
  await using bare = await localApi({ template: '{{ messages | unknown }}' })
  const send = (): Promise<Response> =>
    fetch(`${bare.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(chat) })
  const { error } = (await (await send()).json()) as ErrorReply
  expect(error.message).toContain('Ask for a completion')
  expect(error.message).not.toContain('--')
  await using full = await localApi()
  full.model.borrow = () =>
    Promise.reject(busy('No room', { hint: 'Give more with --memory', retryAfterMs: 1500 }))
  const response = await fetch(`${full.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ ...chat, stream: true })
  })
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '2'])
  expect(((await response.json()) as ErrorReply).error.message).toBe('No room')
})

test('fields that change nothing here are passed over', async () => {
  const response = await post('/v1/chat/completions', {
    ...chat,
    user: 'me',
    store: false,
    metadata: { a: 'b' },
    service_tier: 'auto',
    stream_options: null,
    tools: null
  })
  expect(response.status).toBe(200)
})

describe('bodies', () => {
  test('over the limit, whether it says its length or not, are 413', async () => {
    const big = JSON.stringify({ ...chat, user: 'x'.repeat(200_000) })
    expect((await post('/v1/chat/completions', big)).status).toBe(413)
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(10_000).fill(32))
      }
    })
    const endless = await fetch(`${api.url}/v1/chat/completions`, { method: 'POST', body: stream })
    expect(endless.status).toBe(413)
  })

  test('deeply nested ones harm nobody', async () => {
    const depth = 40_000
    const response = await post('/v1/chat/completions', '['.repeat(depth) + ']'.repeat(depth))
    expect(response.status).toBe(400)
    expect((await fetch(`${api.url}/health`)).status).toBe(200)
  })
})

test('unknown paths and methods are told in the same shape', async () => {
  const response = await fetch(`${api.url}/v1/embeddings`, { method: 'POST', body: '{}' })
  expect(response.status).toBe(404)
  expect(((await response.json()) as ErrorReply).error.code).toBe('unknown_url')
})

test('metrics count requests by endpoint, tokens and times, and no path that was made up', async () => {
  await using fresh = await localApi()
  const send = (path: string): Promise<Response> =>
    fetch(`${fresh.url}${path}`, { method: 'POST', body: JSON.stringify(chat) })
  await (await send('/v1/chat/completions')).json()
  await send('/v1/made-up-path')
  const text = await (await fetch(`${fresh.url}/metrics`)).text()
  const value = (line: string): number => Number(text.split(`${line} `)[1]?.split('\n')[0])
  expect(value('petals:generation_tokens_total{model_name="stories"}')).toBe(4)
  expect(value('petals:prompt_tokens_total{model_name="stories"}')).toBeGreaterThan(4)
  expect(value('petals:time_to_first_token_seconds_count{model_name="stories"}')).toBe(1)
  expect(value('petals:num_requests_running{model_name="stories"}')).toBe(0)
  // Before the first fail-over, or Prometheus would not see that one as a rise.
  expect(value('petals:reroutes_total{model_name="stories"}')).toBe(0)
  const ok = 'petals:http_requests_total{endpoint="/v1/chat/completions",status="200"}'
  expect(value(ok)).toBe(1)
  expect(text).not.toContain('made-up')
})

test('tokens go there and back', async () => {
  const content = 'Once upon a time'
  const { tokens } = (await (await post('/tokenize', { content })).json()) as { tokens: number[] }
  expect(tokens).toEqual([403, 407, 261, 378])
  const back = await post('/detokenize', { model: MODEL, tokens })
  expect(await back.json()).toEqual({ content })
  expect((await post('/detokenize', { tokens: [-1] })).status).toBe(400)
  // Encoding holds everybody up: what is far too long is refused.
  const long = await post('/tokenize', { content: '1 2 '.repeat(20_000) })
  expect(long.status).toBe(400)
  expect(((await long.json()) as ErrorReply).error).toMatchObject({
    code: 'context_length_exceeded',
    message: "'content' has more than 32768 tokens: send it in parts"
  })
})

describe('who may ask', () => {
  test('a page of another site may not, nor one that points its name here', async () => {
    const foreign = await post('/v1/chat/completions', chat, { origin: 'https://evil.example' })
    expect(foreign.status).toBe(403)
    const rebound = await fetch(`${api.url}/v1/models`, { headers: { host: 'evil.example' } })
    expect(rebound.status).toBe(403)
    const own = await post('/v1/chat/completions', chat, { origin: api.url })
    expect(own.status).toBe(200)
    const packed = await post('/v1/chat/completions', chat, { 'content-encoding': 'gzip' })
    expect(packed.status).toBe(415)
  })

  test('with --cors a site may, and its preflight is answered for any header', async () => {
    await using open = await localApi({ cors: ['https://app.example'] })
    const preflight = await fetch(`${open.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, x-stainless-os',
        'access-control-request-private-network': 'true'
      }
    })
    expect(preflight.status).toBe(204)
    const { headers } = preflight
    expect(headers.get('access-control-allow-origin')).toBe('https://app.example')
    expect(headers.get('access-control-allow-headers')).toContain('x-stainless-os')
    expect(headers.get('access-control-allow-private-network')).toBe('true')
    const answer = await fetch(`${open.url}/v1/models`, {
      headers: { origin: 'https://app.example' }
    })
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.example')
  })

  test('a page that may read answers reads errors too', async () => {
    const origin = 'https://app.example'
    await using locked = await localApi({ apiKey: 'correct horse', cors: [origin] })
    const ask = (path: string, key: string, from: string): Promise<Response> =>
      fetch(`${locked.url}${path}`, { headers: { origin: from, 'x-api-key': key } })
    const unknown = await ask('/nowhere', 'correct horse', origin)
    const keyless = await ask('/v1/models', 'wrong', origin)
    const foreign = await ask('/v1/models', 'correct horse', 'https://evil.example')
    const told = [unknown, keyless, foreign].map(({ status, headers }) => [
      status,
      headers.get('access-control-allow-origin')
    ])
    expect(told).toEqual([
      [404, origin],
      [401, origin],
      [403, null]
    ])
  })

  test('a key is demanded of everything but /health', async () => {
    await using locked = await localApi({ apiKey: 'correct horse' })
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(`${locked.url}/v1/models`, { headers })).status
    expect(await status({})).toBe(401)
    expect(await status({ authorization: 'Bearer wrong' })).toBe(401)
    expect(await status({ authorization: 'Bearer correct horse' })).toBe(200)
    expect(await status({ 'x-api-key': 'correct horse' })).toBe(200)
    expect((await fetch(`${locked.url}/health`)).status).toBe(200)
    expect((await fetch(`${locked.url}/metrics`)).status).toBe(401)
    const headers = { authorization: 'Bearer correct horse' }
    const metrics = await (await fetch(`${locked.url}/metrics`, { headers })).text()
    expect(metrics).toContain('endpoint="/metrics",status="401"} 1')
  })
})

describe('load', () => {
  test('answers wait for their turn, and all of them come', async () => {
    await using small = await localApi({ parallel: 2 })
    const texts = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const response = await fetch(`${small.url}/v1/chat/completions`, {
          method: 'POST',
          body: JSON.stringify({ ...chat, model: MODEL })
        })
        const body = (await response.json()) as { choices: { message: { content: string } }[] }
        return body.choices[0]!.message.content
      })
    )
    expect(new Set(texts).size).toBe(1)
    expect(small.sessions.opened).toBeLessThanOrEqual(2)
  })

  test('who leaves cancels its own answer only', async () => {
    const body = JSON.stringify({ ...chat, max_tokens: 400, stream: true })
    const leaver = new AbortController()
    const leaving = await fetch(`${api.url}/v1/chat/completions`, {
      method: 'POST',
      body,
      signal: leaver.signal
    })
    const reader = leaving.body!.getReader()
    await reader.read()
    const staying = post('/v1/chat/completions', chat)
    leaver.abort()
    await reader.read().catch(() => {})
    expect((await staying).status).toBe(200)
    while (api.model.active > 0) await Bun.sleep(5)
    expect(api.model.active).toBe(0)
  })

  test('a request that never ends its body holds up nobody', async () => {
    const { hostname, port } = new URL(api.url)
    const socket = connect(Number(port), hostname)
    await new Promise<void>((resolve) => socket.once('connect', resolve))
    socket.write(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90000\r\n\r\n{"mess'
    )
    expect((await post('/v1/chat/completions', chat)).status).toBe(200)
    socket.destroy()
  })
})

test('an error in the middle of a stream is an event, and the stream ends', async () => {
  const warnings: string[] = []
  await using failing = await localApi({
    log: { ...silentLog, warn: (text: string) => void warnings.push(text) }
  })
  const { borrow } = failing.model
  failing.model.borrow = async (...args) => {
    const borrowed = await borrow.apply(failing.model, args)
    const { generator } = borrowed
    const generate = generator.generate.bind(generator)
    generator.generate = async function* (...given) {
      const tokens = generate(...given)
      yield (await tokens.next()).value as never
      throw new Error('the wire is cut')
    }
    return borrowed
  }
  const response = await fetch(`${failing.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ ...chat, stream: true })
  })
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: '))
  const error = lines.map((line) => line.slice(6)).find((line) => line.startsWith('{"error"'))
  expect(JSON.parse(error ?? '{}')).toMatchObject({ error: { type: 'server_error' } })
  expect(lines.at(-1)).toBe('data: [DONE]')
  expect(warnings).toEqual(['a request failed: the wire is cut'])
  // Its session is not lent again.
  expect(failing.sessions.closed).toBe(1)
})
