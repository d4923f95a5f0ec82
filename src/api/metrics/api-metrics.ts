// What `petals api` measures, as Prometheus reads it: names like vLLM's, in seconds. Hears of each
// request and answer; what runs and waits is read when somebody asks. Knows no HTTP.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { AnswerEnd } from '../../library/text/answer.ts'
import type { AnswerListener, RouteNews } from '../../library/text/text-model.ts'

const PREFIX = 'petals:'
const FIRST_TOKEN_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const ANSWER_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900]
const TOKEN_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** What is read of each model that is open. */
export interface ModelLoad {
  readonly id: string
  readonly active: number
  readonly waiting: number
}

export class ApiMetrics {
  readonly #registry = new Registry()
  readonly #requests: Counter<'endpoint' | 'status'>
  readonly #firstToken: Histogram<'model_name'>
  readonly #answer: Histogram<'model_name'>
  readonly #perToken: Histogram<'model_name'>
  readonly #promptTokens: Counter<'model_name'>
  readonly #cachedTokens: Counter<'model_name'>
  readonly #newTokens: Counter<'model_name'>
  readonly #reroutes: Counter<'model_name'>

  /** @param loads of models that were asked for so far */
  constructor(loads: () => Iterable<ModelLoad>) {
    const registers = [this.#registry]
    const labelNames = ['model_name'] as const
    const histogram = (name: string, help: string, buckets: number[]) =>
      new Histogram({ name: PREFIX + name, help, buckets, labelNames, registers })
    const counter = (name: string, help: string) =>
      new Counter({ name: PREFIX + name, help, labelNames, registers })
    this.#requests = new Counter({
      name: `${PREFIX}http_requests_total`,
      help: 'Requests by endpoint and status',
      labelNames: ['endpoint', 'status'],
      registers
    })
    this.#firstToken = histogram(
      'time_to_first_token_seconds',
      'From the request to its first token',
      FIRST_TOKEN_SECONDS
    )
    this.#answer = histogram(
      'e2e_request_latency_seconds',
      'From the request to the end of its answer',
      ANSWER_SECONDS
    )
    this.#perToken = histogram(
      'time_per_output_token_seconds',
      'Mean time of a token behind the first, of each answer',
      TOKEN_SECONDS
    )
    this.#promptTokens = counter('prompt_tokens_total', 'Tokens of prompts')
    this.#cachedTokens = counter('cached_prompt_tokens_total', 'Those that servers still held')
    this.#newTokens = counter('generation_tokens_total', 'Tokens of answers')
    this.#reroutes = counter('reroutes_total', 'Servers that were gone round while they answered')
    const gauge = (name: string, help: string, of: (load: ModelLoad) => number) =>
      new Gauge({
        name: PREFIX + name,
        help,
        labelNames,
        registers,
        collect() {
          for (const load of loads()) this.set({ model_name: load.id }, of(load))
        }
      })
    gauge('num_requests_running', 'Answers under way', ({ active }) => active)
    gauge('num_requests_waiting', 'Answers that wait for their turn', ({ waiting }) => waiting)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** All of it in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  /** @param endpoint its path as it was declared, never as it was asked */
  requested(endpoint: string, status: number): void {
    this.#requests.inc({ endpoint, status })
  }

  /** What hears of a model's answers. */
  listenerOf(id: string): AnswerListener {
    const labels = { model_name: id }
    // Or the first would be seen by nobody: Prometheus counts rises alone.
    this.#reroutes.inc(labels, 0)
    return {
      answered: ({ times, promptTokens, cachedTokens, newTokens }: AnswerEnd) => {
        const { prompt_ms: promptMs, predicted_ms: predictedMs } = times
        this.#firstToken.observe(labels, promptMs / 1000)
        this.#answer.observe(labels, (promptMs + predictedMs) / 1000)
        if (newTokens > 1) this.#perToken.observe(labels, predictedMs / 1000 / (newTokens - 1))
        this.#promptTokens.inc(labels, promptTokens)
        this.#cachedTokens.inc(labels, cachedTokens)
        this.#newTokens.inc(labels, newTokens)
      },
      news: ({ kind }: RouteNews) => {
        if (kind === 'reroute') this.#reroutes.inc(labels)
      }
    }
  }
}
