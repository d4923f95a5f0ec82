// Asks the server that the page came from: models, answers as they are made, and what happens to
// their route meanwhile.

export interface Hop {
  readonly peer: string
  readonly start: number
  readonly end: number
  readonly isLocal?: boolean
}

export interface RouteNews {
  readonly kind: 'route' | 'reroute' | 'wait' | 'resume'
  readonly text: string
  readonly route?: readonly Hop[]
}

export interface AnswerListener {
  text(more: string): void
  thought(more: string): void
  news(news: RouteNews): void
}

export interface AnswerEnd {
  readonly finish: string
  readonly tokensPerSecond: number | undefined
  readonly tokens: number | undefined
}

const KEY = 'petals-api-key'

/** An error in the server's words. */
export class ServerError extends Error {
  readonly status: number

  constructor(message: string, status: number) {
    super(message)
    this.name = 'ServerError'
    this.status = status
  }
}

/** Fetches with the key that the user gave; asks for one when it is demanded. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const key = sessionStorage.getItem(KEY)
  const headers = new Headers(init.headers)
  if (key) headers.set('authorization', `Bearer ${key}`)
  const response = await fetch(path, { ...init, headers })
  if (response.ok) return response
  if (response.status === 401) {
    const given = prompt('This server wants its API key')
    if (given) {
      sessionStorage.setItem(KEY, given)
      return ask(path, init)
    }
  }
  const body = (await response.json().catch(() => ({}))) as { error?: { message?: string } }
  throw new ServerError(body.error?.message ?? response.statusText, response.status)
}

export async function listModels(): Promise<string[]> {
  const { data } = (await (await ask('/v1/models')).json()) as { data: { id: string }[] }
  return data.map(({ id }) => id)
}

interface Chunk {
  readonly error?: { readonly message: string }
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string; readonly reasoning_content?: string }
    readonly finish_reason?: string | null
  }[]
  readonly usage?: { readonly completion_tokens: number } | null
  readonly timings?: { readonly predicted_per_second: number }
}

/** @throws ServerError, or what ends the request at the signal */
export async function answer(
  body: object,
  listener: AnswerListener,
  signal: AbortSignal
): Promise<AnswerEnd> {
  const response = await ask('/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal
  })
  let finish = ''
  let tokens: number | undefined
  let tokensPerSecond: number | undefined
  for await (const line of linesOf(response)) {
    if (line.startsWith(': petals ')) listener.news(JSON.parse(line.slice(9)) as RouteNews)
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue
    const chunk = JSON.parse(line.slice(6)) as Chunk
    if (chunk.error) throw new ServerError(chunk.error.message, 500)
    const [choice] = chunk.choices ?? []
    if (choice?.delta?.reasoning_content) listener.thought(choice.delta.reasoning_content)
    if (choice?.delta?.content) listener.text(choice.delta.content)
    finish = choice?.finish_reason ?? finish
    tokens = chunk.usage?.completion_tokens ?? tokens
    tokensPerSecond = chunk.timings?.predicted_per_second ?? tokensPerSecond
  }
  return { finish, tokens, tokensPerSecond }
}

async function* linesOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const step = await reader?.read()
    if (!step || step.done) break
    const lines = (rest + step.value).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  if (rest !== '') yield rest
}
