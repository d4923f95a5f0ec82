// `petals ls`: the models that a swarm serves, as far as its servers announce them.
import { silentLog } from '../../base/log.ts'
import { joinSoon, openNode } from '../../library/open/node.ts'
import { openMembership, type SwarmOptions } from '../../library/open/membership.ts'
import { findAllServers } from '../../swarm/directory.ts'
import { summarise, type ModelSummary } from '../../swarm/summary.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Context } from '../context.ts'
import { print } from '../output.ts'

export interface LsFlags extends SwarmOptions {
  json?: boolean | undefined
}

/** Returns the exit code. */
export async function runLs(flags: LsFlags, context: Context): Promise<number> {
  const membership = await openMembership(flags, context)
  await using stack = new AsyncDisposableStack()
  const log = context.debug ? context.log : silentLog
  const node = await openNode(stack, { flags, context, membership, log })
  joinSoon(node)
  await node.ready()
  const infos: ServerInfo[] = []
  for await (const info of findAllServers(node, { signal: context.signal })) infos.push(info)
  const models = summarise(infos)
  return print(
    flags.json === true ? `${JSON.stringify({ models }, undefined, 2)}\n` : table(models)
  )
}

/** For people. */
export function table(models: readonly ModelSummary[]): string {
  if (models.length === 0) return 'Nobody serves a model in this swarm: petals join MODEL\n'
  const rows = [
    ['model', 'blocks', 'servers', 'tokens/s', 'held as', 'content id'],
    ...models.map((model) => [
      model.name,
      blocksText(model),
      serversText(model),
      model.tokensPerSecond.toFixed(1),
      model.quants.join(' ') || '-',
      model.model.slice(0, 12)
    ])
  ]
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

function blocksText({ blockCount, gaps }: ModelSummary): string {
  if (gaps.length === 0) return `all ${blockCount}`
  const missing = gaps.map(({ start, end }) => `${start}:${end}`).join(' ')
  return `${blockCount}, without ${missing}`
}

function serversText({ servers, loading }: ModelSummary): string {
  return loading === 0 ? String(servers) : `${servers} and ${loading} loading`
}
