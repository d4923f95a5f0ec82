// What a training will take, said before it begins: tokens, traffic, time, memory. Pure; estimates
// from what servers publish.
import { formatBytes } from '../base/bytes.ts'
import type { RouteHop } from '../client/route/route.ts'
import type { ModelConfig } from '../model/types.ts'
import type { ServerInfo } from '../wire/types.ts'
import { toHex } from '../base/bytes.ts'
import type { Prepared, TuningPlan } from './run-tuning.ts'

export interface ForecastFacts {
  readonly config: ModelConfig
  readonly plan: TuningPlan
  readonly prepared: Prepared
  readonly hops: readonly RouteHop[]
  readonly infos: readonly ServerInfo[]
  /** Whether this process computes a peer's blocks: nothing of them travels. */
  readonly isHere: (peer: string) => boolean
  /** Numbers that are trained. */
  readonly numbers: number
}

export interface Forecast {
  readonly rows: number
  readonly steps: number
  readonly trafficBytes: number
  /** Undefined when no server says how fast it is. */
  readonly seconds: number | undefined
}

/** A row goes forwards and back: in, out; in, the gradient in, the gradient out. */
const TRIPS = 5
/** Against a prompt's row, a trained one is computed forwards twice and back once, in floats. */
const WORK = 6

export function forecast(facts: ForecastFacts): Forecast {
  const { config, prepared, hops, infos, isHere, numbers } = facts
  const { rows, steps } = prepared
  const far = hops.filter(({ peer }) => !isHere(peer))
  const share = far.reduce((sum, hop) => sum + (hop.end - hop.start) / config.blockCount, 0)
  const trafficBytes =
    rows * config.hiddenSize * 4 * TRIPS * far.length + steps * numbers * 4 * 2 * share
  // Micro-batches are under way together, so the slowest server's time is that of all.
  const times = hops.map((hop) => {
    const info = infos.find(({ peer }) => toHex(peer) === hop.peer)
    const speed = info?.prefillThroughput ?? 0
    return speed > 0 ? ((hop.end - hop.start) * rows * WORK) / speed : undefined
  })
  const known = times.filter((time) => time !== undefined)
  return {
    rows,
    steps,
    trafficBytes,
    seconds: known.length === times.length && known.length > 0 ? Math.max(...known) : undefined
  }
}

/** Lines for people. */
export function forecastLines(
  { rows, steps, trafficBytes, seconds }: Forecast,
  { prepared, plan, hops, numbers }: ForecastFacts
): string[] {
  const examples = prepared.trained.length
  const time = seconds === undefined ? 'unknown' : `about ${duration(seconds)}`
  const { cut, empty } = prepared.notes
  return [
    `examples   ${examples}${prepared.held.length > 0 ? `, and ${prepared.held.length} to check by` : ''}`,
    ...(cut.length > 0
      ? [`cut        ${cut.length} that are longer than ${plan.maxLength} tokens`]
      : []),
    ...(empty.length > 0 ? [`left out   ${empty.length} with nothing to learn`] : []),
    `tokens     ${rows.toLocaleString('en')} in ${steps} steps`,
    `trained    ${numbers.toLocaleString('en')} numbers (${plan.shape.method})`,
    `servers    ${hops.length}`,
    `traffic    ${formatBytes(trafficBytes)}`,
    `time       ${time}`
  ]
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}
