// What a server measures of itself, as Prometheus reads it: names like vLLM's, in seconds and
// bytes. Hears each step and session; all else is read when somebody asks. Knows no HTTP.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { EventListener, ServedCounts } from '../../server/events.ts'
import type { HostLoad } from '../../server/host.ts'

/** What a server is and does at the moment of asking. */
export interface ServerState {
  /** Whether it serves blocks and takes new sessions; else it loads, drains or ends. */
  readonly state: 'loading' | 'serving' | 'draining'
  readonly model: string
  readonly peer: string
  readonly blockCount: number
  /** Undefined while it loads. */
  readonly span:
    | {
        readonly start: number
        readonly end: number
        readonly quant: string
        readonly arithmetic: string
        readonly weightBytes: number
        /** As measured, through all of its blocks. */
        readonly tokensPerSecond: number
      }
    | undefined
  readonly version: string
  readonly load: HostLoad
  readonly counts: ServedCounts
  /** Of weights, to other peers. */
  readonly uploadedBytes: number
  readonly uptimeSeconds: number
}

const PREFIX = 'petals:'
/** From a step of a small model to a prompt of thousands of tokens in a queue, s. */
const STEP_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const SESSION_SECONDS = [0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400]
const SESSION_TOKENS = [1, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000]

export class ServerMetrics implements EventListener {
  readonly #registry = new Registry()
  readonly #state: () => ServerState
  readonly #computeSeconds: Histogram
  readonly #queueSeconds: Histogram
  readonly #sessionSeconds: Histogram
  readonly #sessionTokens: Histogram

  constructor(state: () => ServerState) {
    this.#state = state
    this.#computeSeconds = this.#histogram(
      'step_compute_seconds',
      'Time that steps take in the engine',
      STEP_SECONDS
    )
    this.#queueSeconds = this.#histogram(
      'step_queue_seconds',
      'Time that steps wait for the engine',
      STEP_SECONDS
    )
    this.#sessionSeconds = this.#histogram(
      'session_duration_seconds',
      'How long sessions were open',
      SESSION_SECONDS
    )
    this.#sessionTokens = this.#histogram(
      'session_tokens',
      'Tokens computed for each session',
      SESSION_TOKENS
    )
    this.#counters()
    this.#gauges()
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  onstep({ computeMs, queueMs }: { computeMs: number; queueMs: number }): void {
    this.#computeSeconds.observe(computeMs / 1000)
    this.#queueSeconds.observe(queueMs / 1000)
  }

  onended(livedMs: number, tokens: number): void {
    this.#sessionSeconds.observe(livedMs / 1000)
    this.#sessionTokens.observe(tokens)
  }

  /** All of it in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  #counters(): void {
    const counts = (): ServedCounts => this.#state().counts
    this.#counter('prompt_tokens_total', 'Tokens computed in steps of several', () => [
      [{}, counts().promptTokens]
    ])
    this.#counter('generation_tokens_total', 'Tokens computed in steps of one', () => [
      [{}, counts().generatedTokens]
    ])
    this.#counter('steps_total', 'Steps computed', () => [[{}, counts().steps]])
    this.#counter('training_steps_total', 'Steps of trainings computed, each way', () => [
      [{}, counts().trainingSteps]
    ])
    this.#counter('training_tokens_total', 'Tokens of trainings computed, each way', () => [
      [{}, counts().trainingTokens]
    ])
    this.#counter('training_seconds_total', 'Time until steps of trainings were done', () => [
      [{}, counts().trainingMs / 1000]
    ])
    this.#counter('sessions_total', 'Sessions opened', () => [[{}, counts().sessions]])
    this.#counter('sessions_ended_total', 'Sessions ended, by why', () =>
      Object.entries(counts().ended).map(([reason, count]) => [{ reason }, count])
    )
    this.#counter('requests_refused_total', 'Sessions and steps refused, by why', () =>
      Object.entries(counts().refused).map(([code, count]) => [{ code }, count])
    )
    this.#counter('prefix_cache_hits_total', 'Sessions that began with a kept prefix', () => [
      [{}, this.#state().load.prefixHits]
    ])
    this.#counter('moves_total', 'Moves to other blocks', () => [[{}, counts().moves]])
    this.#counter('uploaded_weight_bytes_total', 'Weights given to other peers', () => [
      [{}, this.#state().uploadedBytes]
    ])
    this.#counter('process_cpu_seconds_total', 'CPU time of the process', () => {
      const { user, system } = process.cpuUsage()
      return [[{}, (user + system) / 1e6]]
    })
  }

  #gauges(): void {
    this.#gauge('server_info', 'What is served: always 1', () => {
      const { model, peer, blockCount, span, version } = this.#state()
      if (!span) return []
      const { start, end, quant, arithmetic } = span
      const blocks = { start: String(start), end: String(end), of: String(blockCount) }
      return [[{ model, peer, quant, arithmetic, version, ...blocks }, 1]]
    })
    this.#gauge('serving', '1: it takes new sessions; 0: it loads, drains or ends', () => [
      [{}, this.#state().state === 'serving' ? 1 : 0]
    ])
    this.#gauge('num_sessions_running', 'Sessions open now', () => [
      [{}, this.#state().load.sessions]
    ])
    this.#gauge('num_steps_waiting', 'Steps that wait or run now', () => [
      [{}, this.#state().load.queue]
    ])
    this.#gauge('kv_cache_usage_perc', 'Share of KV tokens promised to sessions, 1: all', () => {
      const { promisedTokens, capacityTokens } = this.#state().load
      return [[{}, capacityTokens > 0 ? promisedTokens / capacityTokens : 0]]
    })
    this.#gauge('kv_cache_capacity_tokens', 'KV tokens that there is memory for', () => [
      [{}, this.#state().load.capacityTokens]
    ])
    this.#gauge('prefix_cache_tokens', 'Tokens of kept prefixes', () => [
      [{}, this.#state().load.keptTokens]
    ])
    this.#gauge('links', 'Open links to peers', () => [[{}, this.#state().load.links]])
    this.#gauge('measured_tokens_per_second', 'Speed through its blocks, measured at start', () => {
      const { span } = this.#state()
      return span ? [[{}, span.tokensPerSecond]] : []
    })
    this.#gauge('weight_bytes', 'Memory of weights', () => {
      const { span } = this.#state()
      return span ? [[{}, span.weightBytes]] : []
    })
    this.#gauge('uptime_seconds', 'Since the server began', () => [
      [{}, this.#state().uptimeSeconds]
    ])
    this.#gauge('process_resident_memory_bytes', 'Memory of the process', () => [
      [{}, process.memoryUsage.rss()]
    ])
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `${PREFIX}${name}`, help, buckets, registers: [this.#registry] })
  }

  #counter(name: string, help: string, read: () => readonly Reading[]): void {
    const counter = new Counter({
      name: `${PREFIX}${name}`,
      help,
      labelNames: LABELS,
      registers: [this.#registry],
      collect() {
        counter.reset()
        for (const [labels, value] of read()) counter.inc(labels, value)
      }
    })
  }

  #gauge(name: string, help: string, read: () => readonly Reading[]): void {
    const gauge = new Gauge({
      name: `${PREFIX}${name}`,
      help,
      labelNames: LABELS,
      registers: [this.#registry],
      collect() {
        gauge.reset()
        for (const [labels, value] of read()) gauge.set(labels, value)
      }
    })
  }
}

type Reading = readonly [labels: Readonly<Record<string, string>>, value: number]

const LABELS = [
  'model',
  'peer',
  'start',
  'end',
  'of',
  'quant',
  'arithmetic',
  'version',
  'reason',
  'code'
]
