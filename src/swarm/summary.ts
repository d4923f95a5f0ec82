// What a swarm's servers amount to, model by model: which blocks are served, how fast, by whom.
// Pure; knows no network.
import type { BlockSpan } from '../base/block-span.ts'
import { toHex } from '../base/bytes.ts'
import type { ServerInfo } from '../wire/types.ts'
import { gapsOf } from './coverage.ts'

export interface ModelSummary {
  /** Content id, hex. */
  readonly model: string
  /** As most of its servers call it. */
  readonly name: string
  readonly blockCount: number
  /** Servers that serve it now: those that load are left out. */
  readonly servers: number
  readonly loading: number
  readonly gaps: readonly BlockSpan[]
  /** What the weakest block can do for all clients together; 0: a block is missing. */
  readonly tokensPerSecond: number
  /** Longest session that every block has room for. */
  readonly freeTokens: number
  /** Forms of weights and versions, each once. */
  readonly quants: readonly string[]
  readonly versions: readonly string[]
}

/** What serves one block. */
export interface BlockState {
  readonly servers: number
  /** All of them together. */
  readonly tokensPerSecond: number
}

/** Models by their number of servers, then by name. */
export function summarise(infos: readonly ServerInfo[]): readonly ModelSummary[] {
  const byModel = new Map<string, ServerInfo[]>()
  for (const info of infos) {
    const key = `${toHex(info.model)} ${info.blockCount}`
    const servers = byModel.get(key)
    if (servers) servers.push(info)
    else byModel.set(key, [info])
  }
  return [...byModel.values()]
    .map(summaryOf)
    .sort((a, b) => b.servers - a.servers || (a.name < b.name ? -1 : 1))
}

function summaryOf(all: readonly ServerInfo[]): ModelSummary {
  const serving = all.filter((info) => !info.next?.left)
  const [{ model = new Uint8Array(), blockCount = 0 } = {}] = all
  const states = blockStates(serving, blockCount)
  return {
    model: toHex(model),
    name: mostFrequent(all.map(({ modelName }) => modelName)),
    blockCount,
    servers: serving.length,
    loading: all.length - serving.length,
    gaps: gapsOf(serving, blockCount).map(({ start, end }) => ({ start, end })),
    tokensPerSecond: Math.min(...states.map(({ tokensPerSecond }) => tokensPerSecond)),
    freeTokens: roomOf(serving, blockCount),
    quants: [...new Set(serving.map(({ quant }) => quant))].sort(),
    versions: [...new Set(all.map(({ version }) => version))].sort()
  }
}

/** The state of each block from the spans that are served. */
export function blockStates(
  serving: readonly (BlockSpan & { readonly throughput: number })[],
  blockCount: number
): readonly BlockState[] {
  const states = Array.from({ length: blockCount }, () => ({ servers: 0, tokensPerSecond: 0 }))
  for (const { start, end, throughput } of serving) {
    for (const state of states.slice(start, end)) {
      state.servers++
      state.tokensPerSecond += throughput / (end - start)
    }
  }
  return states
}

function roomOf(serving: readonly ServerInfo[], blockCount: number): number {
  const room = Array.from({ length: blockCount }, () => 0)
  for (const { start, end, freeTokens, draining } of serving) {
    if (draining) continue
    for (let block = start; block < end; block++) {
      room[block] = Math.max(room[block] ?? 0, freeTokens)
    }
  }
  return Math.min(...room)
}

function mostFrequent(words: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  const [best] = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
  return best?.[0] ?? ''
}
