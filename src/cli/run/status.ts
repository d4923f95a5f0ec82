// `petals status MODEL`: who serves which blocks, how fast, and which blocks nobody serves.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { silentLog } from '../../base/log.ts'
import type { Model } from '../../model/types.ts'
import { gapsOf } from '../../swarm/coverage.ts'
import { status, type DirectoryEntry } from '../../swarm/directory.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Context } from '../context.ts'
import { joinSoon, openNode } from '../open-node.ts'
import { openNamedModel } from '../engine.ts'
import { EXIT } from '../exit.ts'
import { print } from '../output.ts'
import { openWeights, type PeerFlags } from '../peer-weights.ts'
import { openMembership, type SwarmFlags } from '../swarm/swarm-access.ts'

export interface StatusFlags extends SwarmFlags, PeerFlags {
  json?: boolean | undefined
}

/** Returns the exit code: 0 when every block is served, 5 when some are not. */
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
  const alive = entries
    .filter((entry) => entry.alive)
    .sort((a, b) => a.info.start - b.info.start || a.info.end - b.info.end)
  const serving = alive.map((entry) => entry.info).filter((info) => !info.next?.left)
  const gaps = gapsOf(serving, blockCount)
  const text =
    flags.json === true
      ? `${JSON.stringify(report(model, alive, gaps), undefined, 2)}\n`
      : table(model.config.name, blockCount, alive, gaps)
  model.close()
  const left = await print(text)
  return left !== EXIT.ok || flags.json === true || gaps.length === 0 ? left : EXIT.noRoute
}

function report(
  model: Model,
  alive: readonly DirectoryEntry[],
  gaps: readonly BlockSpan[]
): object {
  return {
    model: model.config.name,
    contentId: toHex(model.contentId),
    blocks: model.config.blockCount,
    servers: alive.map(({ info, rttMs }) => ({
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
      version: info.version
    })),
    gaps: gaps.map(({ start, end }) => ({ start, end }))
  }
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

/** What the server says it will do. */
function plansOf({ draining, next }: ServerInfo): string {
  if (!next) return draining ? 'leaving' : ''
  const to = `${next.start}:${next.end}`
  return next.left ? `loading ${to}` : `moving to ${to}`
}

function table(
  name: string,
  blockCount: number,
  alive: readonly DirectoryEntry[],
  gaps: readonly BlockSpan[]
): string {
  const rows = [
    ['blocks', 'server', 'quant', 'tokens/s', 'free tokens', 'rtt ms', ''],
    ...alive.map(({ info, rttMs }) => [
      `${info.start}:${info.end}`,
      toHex(info.peer).slice(0, 8),
      info.quant,
      round(info.throughput / (info.end - info.start)).toFixed(1),
      String(info.freeTokens),
      rttMs === undefined ? '-' : rttMs.toFixed(1),
      plansOf(info)
    ])
  ]
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
  const missing = gaps.map((gap) => `${gap.start}:${gap.end}`).join(', ')
  const verdict =
    gaps.length === 0
      ? 'Every block is served.'
      : `Nobody serves blocks ${missing}: petals join MODEL --blocks ${missing.split(', ')[0]}`
  return `${name}, ${blockCount} blocks, ${alive.length} servers\n${lines.map((line) => `${line.trimEnd()}\n`).join('')}${verdict}\n`
}
