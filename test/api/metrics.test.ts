// What Prometheus and a supervisor read of a server.
import { expect, test } from 'bun:test'
import { createMetricsApp } from '../../src/api/metrics/metrics-app.ts'
import { ServerMetrics, type ServerState } from '../../src/api/metrics/server-metrics.ts'

const load = {
  sessions: 2,
  promisedTokens: 500,
  capacityTokens: 2000,
  queue: 1,
  links: 3,
  keptPrefixes: 1,
  keptTokens: 40,
  prefixHits: 4
}
const counts = {
  sessions: 5,
  peers: 2,
  steps: 9,
  promptTokens: 30,
  generatedTokens: 7,
  computeMs: 100,
  queueMs: 1,
  trainingSteps: 7,
  trainingTokens: 700,
  trainingMs: 2500,
  moves: 1,
  ended: { done: 2, 'client gone': 1 },
  refused: { BUSY: 3 }
}
const span = {
  start: 0,
  end: 5,
  quant: 'native',
  arithmetic: 'petals-1',
  weightBytes: 1000,
  tokensPerSecond: 50
}
const serving: ServerState = {
  state: 'serving',
  model: 'a "model"',
  peer: 'ab'.repeat(32),
  blockCount: 8,
  span,
  version: '1.2.3',
  load,
  counts,
  uploadedBytes: 77,
  uptimeSeconds: 12.5
}

test('/metrics has each number under its name, in seconds and bytes', async () => {
  const metrics = new ServerMetrics(() => serving)
  metrics.onstep({ computeMs: 20, queueMs: 0.5 })
  metrics.onended(90_000, 300)
  const app = createMetricsApp({ metrics, state: () => serving })
  const answer = await app.request('/metrics')
  expect(answer.headers.get('content-type')).toStartWith('text/plain; version=0.0.4')
  const lines = (await answer.text()).split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      'petals:prompt_tokens_total 30',
      'petals:generation_tokens_total 7',
      'petals:sessions_total 5',
      'petals:sessions_ended_total{reason="done"} 2',
      'petals:sessions_ended_total{reason="client gone"} 1',
      'petals:requests_refused_total{code="BUSY"} 3',
      'petals:num_sessions_running 2',
      'petals:kv_cache_usage_perc 0.25',
      'petals:weight_bytes 1000',
      'petals:uploaded_weight_bytes_total 77',
      'petals:step_compute_seconds_bucket{le="0.01"} 0',
      'petals:step_compute_seconds_bucket{le="0.025"} 1',
      'petals:step_compute_seconds_sum 0.02',
      'petals:session_duration_seconds_sum 90',
      'petals:session_tokens_sum 300',
      `petals:server_info{model="a \\"model\\"",peer="${serving.peer}",quant="native",arithmetic="petals-1",version="1.2.3",start="0",end="5",of="8"} 1`
    ])
  )
  // Read again: counters are not added twice.
  expect(await metrics.text()).toContain('\npetals:prompt_tokens_total 30\n')
})

test('/health is 200 while it serves and 503 before and after, and nothing else is there', async () => {
  let state = serving
  const app = createMetricsApp({ metrics: new ServerMetrics(() => state), state: () => state })
  const health = async (): Promise<unknown[]> => {
    const answer = await app.request('/health')
    const { status, blocks } = (await answer.json()) as { status: string; blocks: unknown }
    return [answer.status, status, blocks]
  }
  expect(await health()).toEqual([200, 'ok', { start: 0, end: 5 }])
  state = { ...serving, state: 'draining' }
  expect(await health()).toEqual([503, 'draining', { start: 0, end: 5 }])
  state = { ...serving, state: 'loading', span: undefined }
  expect(await health()).toEqual([503, 'loading', null])
  expect(await (await app.request('/metrics')).text()).not.toContain('server_info{')
  expect((await app.request('/')).status).toBe(404)
  expect((await app.request('/metrics', { method: 'POST' })).status).toBe(404)
})
