// `petals status MODEL`: who serves which blocks, how fast, and which blocks nobody serves.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { silentLog } from '../../base/log.ts'
import type { Model } from '../../model/types.ts'
import { gapsOf } from '../../swarm/coverage.ts'
import { isNatFailure } from '../../swarm/dialer.ts'
import { status, type DirectoryEntry } from '../../swarm/directory.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Context } from '../context.ts'
import { joinSoon, openNode } from '../../library/open/node.ts'
import { openNamedModel } from '../engine.ts'
import { EXIT, withModel } from '../exit.ts'
import { print } from '../output.ts'
import { openWeights, type PeerFlags } from '../peer-weights.ts'
import { openMembership, type SwarmOptions } from '../../library/open/membership.ts'

export interface StatusFlags extends SwarmOptions, PeerFlags {
  json?: boolean | undefined
}

/** Returns the exit code: 0 if every block is served, 5 otherwise. */
export async function runStatus(
  name: string,
  flags: StatusFlags,
  context: Context
): Promise<number> {
  const membership = await openMembership(flags, context)
  await using stack = new AsyncDisposableStack()
  const log = context.debug ? context.log : silentLog
  const node = await openNode(stack, { flags, context, membership, log })
  joinSoon(node)
  const weights = openWeights(stack, node, flags, context)
  const model = await openNamedModel(name, context, { need: 'facts', weights })
  const { blockCount } = model.config
  await node.ready()
  const entries = await status(node, model.contentId, blockCount, { signal: context.signal })
  const seen = seenOf(entries, blockCount)
  const text =
    flags.json === true
      ? `${JSON.stringify(report(name, model, seen), undefined, 2)}\n`
      : table(name, blockCount, seen)
  model.close()
  const left = await print(text)
  if (left !== EXIT.ok || flags.json === true) return left
  if (seen.gaps.length > 0) return EXIT.noRoute
  return seen.unanswered.length > 0 ? EXIT.unavailable : EXIT.ok
}

/** The servers found for a model. */
export interface Seen {
  readonly alive: readonly DirectoryEntry[]
  /** Servers with fresh records that do not answer yet. */
  readonly silent: readonly DirectoryEntry[]
  /** Blocks that nobody serves. */
  readonly gaps: readonly BlockSpan[]
  /** Blocks whose servers are all silent. */
  readonly unanswered: readonly BlockSpan[]
}

export function seenOf(entries: readonly DirectoryEntry[], blockCount: number): Seen {
  const inOrder = (state: DirectoryEntry['state']): DirectoryEntry[] =>
    entries
      .filter((entry) => entry.state === state)
      .sort((a, b) => a.info.start - b.info.start || a.info.end - b.info.end)
  const serving = (those: readonly DirectoryEntry[]): ServerInfo[] =>
    those.map(({ info }) => info).filter((info) => !info.next?.left)
  const [alive, silent] = [inOrder('alive'), inOrder('silent')]
  const gaps = gapsOf([...serving(alive), ...serving(silent)], blockCount)
  return { alive, silent, gaps, unanswered: gapsOf([...serving(alive), ...gaps], blockCount) }
}

function report(name: string, model: Model, { alive, silent, gaps, unanswered }: Seen): object {
  return {
    model: name,
    contentId: toHex(model.contentId),
    blocks: model.config.blockCount,
    servers: alive.map(serverReport),
    silent: silent.map((entry) => ({ ...serverReport(entry), why: entry.why?.message ?? null })),
    gaps: gaps.map(({ start, end }) => ({ start, end })),
    unanswered: unanswered.map(({ start, end }) => ({ start, end }))
  }
}

function serverReport({ info, rttMs, trainedTokens }: DirectoryEntry): object {
  return {
    peer: toHex(info.peer),
    start: info.start,
    end: info.end,
    quant: info.quant,
    tokensPerSecond: round(info.throughput / (info.end - info.start)),
    prefillTokensPerSecond: round(info.prefillThroughput / (info.end - info.start)),
    freeTokens: info.freeTokens,
    rttMs: rttMs === undefined ? null : round(rttMs),
    draining: info.draining,
    moves: info.fixed !== true,
    next: info.next ?? null,
    version: info.version,
    arithmetic: info.arithmetic ?? null,
    trains: info.noTraining !== true,
    trainedTokens: trainedTokens ?? null,
    adapters: info.adapters?.map((one) => toHex(one)) ?? null
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

/** What the server announced that it will do, and adapters that it holds for everybody. */
function plansOf({ draining, next, adapters = [] }: ServerInfo): string {
  const ids = adapters.map((one) => toHex(one).slice(0, 8))
  const held = ids.length === 0 ? '' : `adapters ${ids.join(', ')}`
  if (!next) return [draining ? 'leaving' : '', held].filter((one) => one !== '').join(', ')
  const to = `${next.start}:${next.end}`
  return next.left ? `loading ${to}` : `moving to ${to}`
}

export function table(name: string, blockCount: number, seen: Seen): string {
  const { alive, silent } = seen
  const rows = [
    [
      'blocks',
      'server',
      'quant',
      'arithmetic',
      'tokens/s',
      'free tokens',
      'training',
      'rtt ms',
      ''
    ],
    ...alive.map((entry) => row(entry, plansOf(entry.info))),
    ...silent.map((entry) => row(entry, silence(entry)))
  ]
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((each) => each[i]?.length ?? 0))) ?? []
  const lines = rows.map((each) => each.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
  const servers = `${alive.length} server${alive.length === 1 ? '' : 's'}`
  const others =
    silent.length === 0
      ? ''
      : `, ${silent.length} that ${silent.length === 1 ? 'does' : 'do'} not answer yet`
  const text = lines.map((line) => `${line.trimEnd()}\n`).join('')
  return `${name}, ${blockCount} blocks, ${servers}${others}\n${text}${withModel(verdict(seen), name)}\n`
}

function row({ info, rttMs, trainedTokens }: DirectoryEntry, note: string): string[] {
  return [
    `${info.start}:${info.end}`,
    toHex(info.peer).slice(0, 8),
    info.quant,
    info.arithmetic ?? 'other',
    round(info.throughput / (info.end - info.start)).toFixed(1),
    String(info.freeTokens),
    info.noTraining ? 'no' : trainedTokens === undefined ? '-' : String(trainedTokens),
    rttMs === undefined ? '-' : rttMs.toFixed(1),
    note
  ]
}

/** Why a server was not reached, in a few words. */
function silence({ why }: DirectoryEntry): string {
  return why && isNatFailure(why) ? 'not reached: NAT' : 'does not answer yet'
}

function verdict({ gaps, unanswered }: Seen): string {
  const blocks = (spans: readonly BlockSpan[]): string =>
    spans.map(({ start, end }) => `${start}:${end}`).join(', ')
  const [gap] = gaps
  if (gap) {
    const join = `petals join MODEL --blocks ${gap.start}:${gap.end}`
    return `Nobody serves blocks ${blocks(gaps)}: ${join}`
  }
  if (unanswered.length === 0) return 'Every block is served.'
  return (
    `The servers of blocks ${blocks(unanswered)} do not answer yet: they may be far away, behind a ` +
    'NAT, or gone for a minute or less. Ask again, or --debug tells what was tried.'
  )
}
