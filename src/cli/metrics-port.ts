// `--metrics-port` of a server: /metrics for Prometheus and /health, while the server lives.
import { isIP } from 'node:net'
import { createMetricsApp } from '../api/metrics/metrics-app.ts'
import { ServerMetrics, type ServerState } from '../api/metrics/server-metrics.ts'
import { serve } from '../api/serve.ts'
import { systemClock } from '../base/clock.ts'
import { badInput } from '../base/errors.ts'
import { buildInfo } from '../base/version.ts'
import type { Quant } from '../blocks/types.ts'
import type { Model } from '../model/types.ts'
import type { EventListener } from '../server/events.ts'
import type { Host } from '../server/host.ts'
import type { WeightExchange } from '../weights/weight-exchange.ts'

/** What is measured. */
export interface Measured {
  /** As it was typed. */
  readonly name: string
  readonly model: Model
  readonly quant: Quant
  readonly host: Host
  readonly weights: WeightExchange | undefined
}

/** `PORT`, or `IP:PORT` for others to reach. @throws AppError BAD_INPUT */
export function parseMetricsPort(value: string): { host: string; port: number } {
  const [, host = '127.0.0.1', port] = /^(?:\[?([^[\]]+)\]?:)?(\d{1,5})$/.exec(value) ?? []
  if (port !== undefined && isIP(host) !== 0 && Number(port) <= 65_535) {
    return { host, port: Number(port) }
  }
  throw badInput(`--metrics-port cannot be '${value}'`, {
    hint: 'Give a port such as 9400, or an address of this machine and a port: 0.0.0.0:9400'
  })
}

export class MetricsPort {
  readonly #address: { host: string; port: number }
  readonly #metrics: ServerMetrics
  readonly #state: () => ServerState

  /**
   * @param measured is called when somebody asks, after listen()
   * @throws AppError BAD_INPUT
   */
  constructor(value: string, measured: () => Measured) {
    const began = systemClock.now()
    this.#address = parseMetricsPort(value)
    this.#state = () => stateOf(measured(), systemClock.now() - began)
    this.#metrics = new ServerMetrics(this.#state)
  }

  /** Hears of each step and session. */
  get listener(): EventListener {
    return this.#metrics
  }

  /**
   * Answers until `stack` ends it.
   * @returns its address
   * @throws AppError IN_USE, UNAVAILABLE
   */
  listen(stack: AsyncDisposableStack): string {
    const app = createMetricsApp({ metrics: this.#metrics, state: this.#state })
    const server = serve({ app, ...this.#address, option: '--metrics-port' })
    stack.defer(() => server.close())
    return server.url
  }
}

function stateOf({ name, model, quant, host, weights }: Measured, uptimeMs: number): ServerState {
  return {
    state: host.state,
    model: name,
    peer: host.peer,
    blockCount: model.config.blockCount,
    span: spanOf(host, quant),
    version: buildInfo().version,
    load: host.load,
    counts: host.events.counts,
    uploadedBytes: weights?.givenBytes ?? 0,
    uptimeSeconds: uptimeMs / 1000
  }
}

function spanOf({ serving }: Host, quant: Quant): ServerState['span'] {
  if (!serving) return undefined
  const { start, end, arithmetic = 'other', weightBytes } = serving.span
  const tokensPerSecond = serving.speed.decode / (end - start)
  return { start, end, quant, arithmetic, weightBytes, tokensPerSecond }
}
