// The HTTP surface: routes, keys, origins, limits. Endpoints are files of their own. Knows no
// swarm: models come from a ModelSource.
import { Hono, type Context } from 'hono'
import { timingSafeEqual } from 'node:crypto'
import { systemClock, type Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import type { TextModel } from '../../library/text/text-model.ts'
import { ApiMetrics } from '../metrics/api-metrics.ts'
import { anthropicError, anthropicMessages, countTokens } from './anthropic.ts'
import { readBody } from './body.ts'
import { chatCompletions } from './chat-completions.ts'
import { completions } from './completions.ts'
import {
  respond,
  type EndpointContext,
  type MakeEndpoint,
  type RequestContext,
  type RespondOptions
} from './endpoint.ts'
import { errorAnswer, RequestError } from './errors.ts'
import { asObject, Fields } from './fields.ts'
import { modelName, offeredName, type ModelSource } from './model-source.ts'
import type { ServerBindings } from '../serve.ts'
import { responses } from './responses.ts'
import { detokenize, tokenize } from './tokens.ts'

export interface AppOptions {
  models: ModelSource
  /** Demanded of every request but /health. Default: none. */
  apiKey?: string | undefined
  /** Origins of other sites' pages that may use it; '*' for all. Default: none. */
  cors?: readonly string[]
  /** Names under which the server is reached: a page that points its own name here is refused. */
  hosts?: readonly string[] | undefined
  /** Largest body, bytes. Default 32 MiB. */
  maxBodyBytes?: number
  /** What the monitor shows, as JSON. Default: there is none. */
  swarm?: (() => object) | undefined
  clock?: Clock
  log?: Log
}

const MAX_BODY_BYTES = 32 * 2 ** 20

/** What the server gives with each request; absent in tests that call the app itself. */
export interface AppEnvironment {
  Bindings: Partial<ServerBindings>
}

type AppContext = Context<AppEnvironment>
/** What a model is asked without making an answer; given back as JSON. */
type Question = (fields: Fields, context: EndpointContext) => object
/** Given how a request is answered. */
type Answerer = (call: RespondOptions) => Promise<Response>

export function createApp(options: AppOptions): Hono<AppEnvironment> {
  const { models, clock = systemClock, log = silentLog } = options
  const created = Math.floor(clock.wall() / 1000)
  const modelObject = (id: string): object => ({
    id,
    object: 'model',
    created,
    owned_by: 'petals'
  })
  const { maxBodyBytes = MAX_BODY_BYTES } = options
  const report = (thrown: unknown): void => log.warn(`a request failed: ${withHint(thrown)}`)
  const app = new Hono<AppEnvironment>()
  app.onError((error, c) => {
    const { status, body, retryAfterMs } = errorAnswer(error)
    if (status >= 500) report(error)
    const isAnthropic = c.req.path.startsWith('/v1/messages')
    const allowed = allowedOrigin(c, options)
    const headers: Record<string, string> = {
      ...(retryAfterMs === undefined ? {} : { 'retry-after': `${Math.ceil(retryAfterMs / 1000)}` }),
      // A page reads no error without it.
      ...(allowed === undefined ? {} : { 'access-control-allow-origin': allowed })
    }
    return Response.json(isAnthropic ? anthropicError(error).body : body, { status, headers })
  })
  app.notFound((c) => {
    throw new RequestError(`There is no ${c.req.method} ${c.req.path}`, {
      status: 404,
      code: 'unknown_url'
    })
  })
  const asked = new Map<string, TextModel>()
  const metrics = new ApiMetrics(() => asked.values())
  app.use('*', async (c, next) => {
    await next()
    // A path that was asked for may be anything; only those that there are become labels.
    const route = c.req.matchedRoutes.findLast(({ path }) => path !== '*' && path !== '/*')
    metrics.requested(route?.path ?? 'other', c.res.status)
  })
  app.use('*', async (c, next) => {
    const allowed = checkOrigin(c, options)
    if (c.req.method === 'OPTIONS') return preflight(c, allowed)
    if (c.req.path !== '/health') checkKey(c, options.apiKey)
    await next()
    if (allowed !== undefined) c.res.headers.set('access-control-allow-origin', allowed)
  })
  const open = async (name: string): Promise<TextModel> => {
    const model = await models.take(name)
    asked.set(name, model)
    model.listener ??= metrics.listenerOf(name)
    return model
  }
  const asking = (answer: Answerer) => async (c: AppContext) => {
    const fields = new Fields(asObject(await readBody(c.req.raw, maxBodyBytes), 'body'))
    // An answer may take long to begin.
    c.env?.keepOpen?.(c.req.raw)
    const name = modelName(fields, models)
    const abort = new AbortController()
    const { signal } = c.req.raw
    if (signal.aborted) abort.abort()
    signal.addEventListener('abort', () => abort.abort(), { once: true })
    const request: RequestContext = {
      modelName: name,
      created: Math.floor(clock.wall() / 1000),
      abort,
      newId: (prefix) => `${prefix}-${crypto.randomUUID().replaceAll('-', '')}`
    }
    const opening = open(name)
    // Heard by whoever answers, unless the client has left.
    opening.catch(() => {})
    return answer({ fields, request, opening, clock, report })
  }
  const endpoint = (make: MakeEndpoint) => asking((call) => respond(make, call))
  const question = (answer: Question) =>
    asking(async ({ fields, request, opening }) =>
      Response.json(answer(fields, { ...request, model: await opening }))
    )
  app.get('/health', () => Response.json({ status: 'ok' }))
  app.get('/metrics', async () => {
    return new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } })
  })
  app.get('/swarm.json', () => {
    if (options.swarm) return Response.json(options.swarm())
    throw new RequestError('This server watches no swarm', { status: 404, code: 'unknown_url' })
  })
  app.get('/v1/models', () =>
    Response.json({ object: 'list', data: models.names.map(modelObject) })
  )
  // Ids may hold slashes: owner/name.
  app.get('/v1/models/:id{.+}', (c) => {
    return Response.json(modelObject(offeredName(c.req.param('id'), models)))
  })
  app.post('/v1/chat/completions', endpoint(chatCompletions))
  app.post('/v1/completions', endpoint(completions))
  app.post('/v1/responses', endpoint(responses))
  app.post('/v1/messages', endpoint(anthropicMessages))
  app.post('/v1/messages/count_tokens', question(countTokens))
  app.post('/tokenize', question(tokenize))
  app.post('/detokenize', question(detokenize))
  return app
}

function withHint(thrown: unknown): string {
  const { message, hint } = toAppError(thrown)
  return hint === undefined ? message : `${message}. ${hint}`
}

/** In constant time. @throws RequestError 401 */
function checkKey(c: AppContext, apiKey: string | undefined): void {
  if (apiKey === undefined) return
  const bearer = /^Bearer +(.+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
  const given = bearer ?? c.req.header('x-api-key') ?? ''
  const hash = (text: string): Buffer => new Bun.CryptoHasher('sha256').update(text).digest()
  if (timingSafeEqual(hash(given), hash(apiKey))) return
  throw new RequestError('The API key is missing or wrong', {
    status: 401,
    code: 'invalid_api_key'
  })
}

/** The origin of the page that asks, if it may use this server. */
function allowedOrigin(c: AppContext, { cors = [] }: AppOptions): string | undefined {
  const host = c.req.header('host') ?? ''
  const origin = c.req.header('origin')
  if (origin === undefined) return undefined
  const isOwn = origin === `http://${host}` || origin === `https://${host}`
  return isOwn || cors.includes('*') || cors.includes(origin) ? origin : undefined
}

/**
 * The origin that the answer is for, if a page asks. @throws RequestError for a page of another
 * site, and for a name that is not this server's
 */
function checkOrigin(c: AppContext, options: AppOptions): string | undefined {
  const { hosts } = options
  const host = c.req.header('host') ?? ''
  const name = host.replace(/:\d+$/, '').toLowerCase()
  if (hosts !== undefined && !hosts.includes(name)) {
    throw new RequestError(`This server is not '${name}'`, { status: 403, code: 'wrong_host' })
  }
  const origin = c.req.header('origin')
  if (origin === undefined) return undefined
  const allowed = allowedOrigin(c, options)
  if (allowed !== undefined) return allowed
  throw new RequestError(`Pages of '${origin}' may not use this server`, {
    status: 403,
    code: 'origin_not_allowed'
  })
}

function preflight(c: AppContext, origin: string | undefined): Response {
  const headers = {
    'access-control-allow-origin': origin ?? '',
    'access-control-allow-methods': 'GET, POST, OPTIONS',
    'access-control-allow-headers': c.req.header('access-control-request-headers') ?? '*',
    'access-control-allow-private-network': 'true',
    'access-control-max-age': '600'
  }
  return new Response(null, { status: 204, headers })
}
