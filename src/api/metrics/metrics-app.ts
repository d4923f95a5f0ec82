// `/metrics` and `/health` of a server. Tells nothing of who asks what, and takes nothing.
import { Hono } from 'hono'
import type { ServerBindings } from '../serve.ts'
import type { ServerMetrics, ServerState } from './server-metrics.ts'

interface Environment {
  Bindings: Partial<ServerBindings>
}

export interface MetricsAppOptions {
  readonly metrics: ServerMetrics
  readonly state: () => ServerState
}

export function createMetricsApp({ metrics, state }: MetricsAppOptions): Hono<Environment> {
  const app = new Hono<Environment>()
  app.get('/metrics', async () => {
    return new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } })
  })
  app.get('/health', () => {
    const now = state()
    // Whoever balances or restarts by the status needs no JSON: it is 503 until it serves.
    return Response.json(healthOf(now), { status: now.state === 'serving' ? 200 : 503 })
  })
  app.notFound(({ req }) =>
    Response.json({ error: `There is no ${req.path}: /metrics and /health` }, { status: 404 })
  )
  return app
}

function healthOf({ state, model, peer, span, version, load, uptimeSeconds }: ServerState): object {
  return {
    status: state === 'serving' ? 'ok' : state,
    model,
    peer,
    blocks: span ? { start: span.start, end: span.end } : null,
    version,
    sessions: load.sessions,
    uptimeSeconds: Math.round(uptimeSeconds)
  }
}
