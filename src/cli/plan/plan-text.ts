// A plan as text and as JSON. Measures nothing.
import type { BlockSpan } from '../../base/block-span.ts'
import { formatBytes } from '../../base/bytes.ts'
import type { Forecast, HopTimes, Shares } from '../../client/route/forecast.ts'
import type { QuantFit } from '../../server/placement/plan.ts'
import type { OwnTimes } from './plan-client.ts'
import type { ServingTimes } from './plan-measure.ts'

export interface Plan {
  /** As typed. */
  readonly name: string
  readonly blockCount: number
  readonly hiddenSize: number
  readonly threads: number
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly fits: readonly QuantFit[]
  /** Quantisation of the measurements and forecasts. */
  readonly quant: string
  /** How keys and values are held in these. */
  readonly kv: string
  readonly client: OwnTimes | undefined
  readonly serving: ServingTimes | undefined
  /** What a join would serve. */
  readonly span: BlockSpan | undefined
  /** Bytes of its blocks that would be fetched. */
  readonly fetchBytes: number
  /** Servers of the model that are alive; undefined if nobody looked. */
  readonly servers: number | undefined
  readonly outlooks: readonly Outlook[]
}

export type Outlook = {
  readonly name: 'alone' | 'swarm' | 'joined'
} & (
  | { readonly kind: 'forecast'; readonly forecast: Forecast; readonly claimed: boolean }
  | { readonly kind: 'none'; readonly why: string }
)

const NAMES: Readonly<Record<Outlook['name'], string>> = {
  alone: 'alone',
  swarm: 'the swarm as it is',
  joined: 'with this machine'
}

const SHARES: readonly (readonly [keyof Shares, string])[] = [
  ['computeMs', 'compute'],
  ['queueMs', 'queue'],
  ['networkMs', 'network'],
  ['headMs', 'head'],
  ['clientMs', 'client']
]

export function planText(plan: Plan): string {
  const { name, blockCount, hiddenSize, threads, memoryBytes, diskBytes } = plan
  const lines = [
    `${name}: ${blockCount} blocks, ${hiddenSize} wide`,
    `this machine: ${threads} ${threads === 1 ? 'thread' : 'threads'}, ` +
      `${formatBytes(memoryBytes)} for weights and sessions, ${formatBytes(diskBytes)} of disk`,
    '',
    ...table([
      ['quant', 'a block', 'blocks that fit', 'weights', 'to work with', 'room for sessions'],
      ...plan.fits.map(fitRow)
    ]),
    ''
  ]
  const measured = measuredLines(plan)
  if (measured.length > 0) lines.push(...measured, '')
  const [shown, missing] = [plan.outlooks.filter(isForecast), plan.outlooks.filter(isNone)]
  if (shown.length > 0) {
    lines.push(
      ...table([
        ['tokens/s', '', 'ms a token', ...SHARES.map(([, name]) => name)],
        ...shown.map(outlookRow)
      ])
    )
    for (const one of shown) lines.push(`${NAMES[one.name]}: ${routeText(one.forecast.hops)}`)
    lines.push('One token a step: guesses that come true make an answer faster.')
  }
  for (const { name, why } of missing) lines.push(`${NAMES[name]}: ${why}`)
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

type Shown = Outlook & { kind: 'forecast' }
type Missing = Outlook & { kind: 'none' }
const isForecast = (one: Outlook): one is Shown => one.kind === 'forecast'
const isNone = (one: Outlook): one is Missing => one.kind === 'none'

function fitRow(fit: QuantFit): string[] {
  const { blockCount } = fit.sizes.config
  const of = `${fit.blocks} of ${blockCount}`
  return [
    fit.quant,
    formatBytes(Math.round(fit.blockBytes)),
    fit.blocks < blockCount ? `${of}, for ${fit.bound}` : of,
    formatBytes(fit.weightBytes),
    formatBytes(Math.round(fit.workingBytes)),
    `${fit.sessionTokens} tokens`
  ]
}

function measuredLines({ client, serving, span, fetchBytes, quant, kv }: Plan): string[] {
  const lines: string[] = []
  const head = client
    ? `head ${ms(client.times.headMs)} ms${client.headMeasured ? '' : ' (reckoned: it is not here)'}`
    : ''
  if (serving) {
    const { sample, engine, hop } = serving
    lines.push(
      `measured with blocks ${sample.start}:${sample.end} in ${quant}, keys and values in ${kv}: ` +
        `${ms(engine.blockMs)} ms a block + ${ms(engine.stepMs)} ms a step, ${head}, a trip on loopback ${ms(hop.tripMs)} ms`
    )
  } else if (client) lines.push(`measured: ${head}`)
  if (span) {
    const fetch = fetchBytes > 0 ? `, after fetching ${formatBytes(fetchBytes)}` : ''
    lines.push(`petals join would serve blocks ${span.start}:${span.end}${fetch}`)
  }
  return lines
}

function outlookRow({ name, forecast, claimed }: Shown): string[] {
  const { tokensPerSecond, stepMs, shares } = forecast
  return [
    tokensPerSecond.toFixed(1),
    NAMES[name] + (claimed ? ' (by its claims)' : ''),
    ms(stepMs),
    ...SHARES.map(([key]) => `${ms(shares[key])} (${Math.round((shares[key] / stepMs) * 100)} %)`)
  ]
}

function routeText(hops: readonly HopTimes[]): string {
  return hops
    .map((hop) => `${hop.peer.slice(0, 8)}[${hop.start}:${hop.end}] ${ms(hop.computeMs)} ms`)
    .join(' > ')
}

function ms(value: number): string {
  return value.toFixed(2)
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
}

/** For programs: everything in bytes, ms and tokens a second. */
export function planJson(plan: Plan): object {
  const { client, serving, span } = plan
  return {
    name: plan.name,
    model: plan.name,
    blocks: plan.blockCount,
    hiddenSize: plan.hiddenSize,
    threads: plan.threads,
    memoryBytes: plan.memoryBytes,
    diskBytes: plan.diskBytes,
    fits: plan.fits.map((fit) => ({
      quant: fit.quant,
      blocks: fit.blocks,
      bound: fit.bound,
      blockBytes: Math.round(fit.blockBytes),
      weightBytes: fit.weightBytes,
      workingBytes: Math.round(fit.workingBytes),
      kvBytesPerToken: fit.sizes.kvBytesPerToken,
      sessionTokens: fit.sessionTokens,
      headBytes: fit.sizes.headBytes
    })),
    quant: plan.quant,
    kv: plan.kv,
    measured: client
      ? { headMeasured: client.headMeasured, ...client.times, serving: servingJson(serving) }
      : null,
    join: span ? { start: span.start, end: span.end, fetchBytes: plan.fetchBytes } : null,
    servers: plan.servers ?? null,
    ...Object.fromEntries(plan.outlooks.map((one) => [one.name, outlookJson(one)]))
  }
}

function servingJson(serving: ServingTimes | undefined): object | null {
  if (!serving) return null
  const { sample, engine, hop } = serving
  const { queueMs, tripMs, rttMs } = hop
  const { start, end } = sample
  return { start, end, blockMs: engine.blockMs, stepMs: engine.stepMs, queueMs, tripMs, rttMs }
}

function outlookJson(one: Outlook): object {
  if (one.kind === 'none') return { tokensPerSecond: null, why: one.why }
  const { tokensPerSecond, stepMs, shares, hops } = one.forecast
  return {
    tokensPerSecond,
    stepMs,
    ...shares,
    claimed: one.claimed,
    route: hops.map(({ peer, start, end, computeMs, queueMs, tripMs, rttMs }) => ({
      peer,
      start,
      end,
      computeMs,
      queueMs,
      tripMs,
      rttMs
    }))
  }
}
