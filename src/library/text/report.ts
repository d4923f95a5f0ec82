// What answers took and which way they went, in lines for people.
import type { GenerationStats, StepTimes } from '../../client/text/generate.ts'
import { hopName, type RouteHop } from '../../client/route/route.ts'
import type { ForwardReport, HopTrace } from '../../client/session/forward.ts'

export type { RouteHop }
export type {
  FinishReason,
  GeneratedToken,
  GenerationStats,
  StepTimes
} from '../../client/text/generate.ts'

/** Which server computes which blocks, one text for each. */
export function routeTexts(route: readonly RouteHop[]): string[] {
  return route.map((hop) => `${hop.start}:${hop.end} ${hopName(hop)}`)
}

/** Tokens, tokens a second, time to first token, route. */
export function statsLine(
  stats: GenerationStats,
  route: readonly RouteHop[],
  reroutes: number
): string {
  const rate = decodeRate(stats)
  const hops = route.map((hop) => `${hopName(hop)}[${hop.start}:${hop.end}]`).join(' > ')
  const reused = stats.reusedTokens > 0 ? ` (${stats.reusedTokens} reused)` : ''
  const mended = reroutes > 0 ? `; ${reroutes} rerouted` : ''
  const perTrip = stats.trips > 0 ? (stats.newTokens - 1) / stats.trips : 1
  const guessed =
    stats.drafted > 0
      ? `${stats.accepted} of ${stats.drafted} guesses right${sourcesText(stats)}, ` +
        `${perTrip.toFixed(2)} tokens a trip; `
      : ''
  return (
    `${stats.newTokens} tokens, ${rate.toFixed(1)} tokens/s; ` +
    `prompt ${stats.promptTokens} tokens${reused}, first token ${Math.round(stats.firstTokenMs)} ms; ` +
    `${guessed}route ${hops}${mended}\n`
  )
}

const SOURCES: Readonly<Record<string, string>> = { text: 'n-gram', model: 'draft' }

/** Where the guesses came from: ' (n-gram 3 of 4, draft 10 of 12)'. */
function sourcesText({ sources }: GenerationStats): string {
  const parts = Object.entries(sources).map(
    ([name, { drafted, accepted }]) => `${SOURCES[name] ?? name} ${accepted} of ${drafted}`
  )
  return parts.length > 0 ? ` (${parts.join(', ')})` : ''
}

/** Tokens a second after the first token; 0 for a single token. */
export function decodeRate(stats: GenerationStats): number {
  return stats.decodeMs > 0 ? ((stats.newTokens - 1) * 1000) / stats.decodeMs : 0
}

/** Where one decode step's time went, ms, summed over the hops. */
export interface StepShares extends StepTimes {
  encodeMs: number
  decodeMs: number
  computeMs: number
  queueMs: number
  /** The rest of the swarm's time: network, the servers' codecs, threads. */
  networkMs: number
}

/** @param report of the step with these times */
export function sharesOf(
  times: StepTimes,
  report: Pick<ForwardReport, 'trace' | 'encodeMs' | 'decodeMs'>
): StepShares {
  const { trace, encodeMs, decodeMs } = report
  const computeMs = total(trace, 'computeMs')
  const queueMs = total(trace, 'queueMs')
  const networkMs = times.swarmMs - computeMs - queueMs - encodeMs - decodeMs
  return { ...times, encodeMs, decodeMs, computeMs, queueMs, networkMs }
}

function total(trace: readonly HopTrace[], key: 'computeMs' | 'queueMs'): number {
  return trace.reduce((sum, hop) => sum + hop[key], 0)
}

/** The prompt: time to open the sessions and to compute, by server, ms. One line. */
export function promptLine(
  firstTokenMs: number,
  report: Pick<ForwardReport, 'trace' | 'coverMs'>
): string {
  const byPeer = new Map<string, number>()
  for (const { peer, computeMs } of report.trace) {
    byPeer.set(peer, (byPeer.get(peer) ?? 0) + computeMs)
  }
  const compute = [...byPeer.values()].map((ms) => ms.toFixed(1)).join(' + ')
  return (
    `prompt, ms: first token ${firstTokenMs.toFixed(1)}, of it opening ${report.coverMs.toFixed(1)}; ` +
    `compute by server ${compute}\n`
  )
}

const COLUMNS: readonly (readonly [keyof StepShares, string])[] = [
  ['embedMs', 'embed'],
  ['encodeMs', 'encode'],
  ['networkMs', 'network'],
  ['queueMs', 'queue'],
  ['computeMs', 'compute'],
  ['decodeMs', 'decode'],
  ['headMs', 'head'],
  ['sampleMs', 'sample']
]

/** Medians over all decode steps, one line. */
export function traceLine(steps: readonly StepShares[]): string {
  const parts = COLUMNS.map(([key, name]) => {
    const sorted = steps.map((step) => step[key]).sort((a, b) => a - b)
    return `${name} ${(sorted[Math.floor(sorted.length / 2)] ?? 0).toFixed(2)}`
  })
  return `step, median ms of ${steps.length}: ${parts.join(', ')}\n`
}
