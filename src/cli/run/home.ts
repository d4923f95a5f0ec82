// `petals` alone: what is here, what is served near, and what to type next.
import { formatBytes } from '../../base/bytes.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { joinSoon, openNode } from '../../library/open/node.ts'
import { listOwnSwarms } from '../../library/open/own-swarms.ts'
import { listCachedModels } from '../../model/store/model-cache.ts'
import { findAllServers } from '../../swarm/directory.ts'
import { summarise, type ModelSummary } from '../../swarm/summary.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { defaultModel } from '../chat/remember.ts'
import type { Context } from '../context.ts'
import { print } from '../output.ts'

/** Nobody waits long for a greeting. */
const LOOK_MS = 2000
const FIRST_MODEL = 'smollm2-135m'

/** Returns the exit code. */
export async function runHome(context: Context): Promise<number> {
  const [models, swarms, last, near] = await Promise.all([
    listCachedModels(context.paths.cache).catch(() => []),
    listOwnSwarms(context.paths).catch(() => []),
    defaultModel(context),
    servedNear(context)
  ])
  const name = last ?? models[0]?.name ?? FIRST_MODEL
  const lines = [
    'petals: large language models over ordinary machines',
    '',
    models.length === 0
      ? 'Here: no models yet, but stories260k, which is inside the program'
      : `Here: ${models.map((one) => `${one.name} (${formatBytes(one.heldBytes)})`).join(', ')}`,
    ...(swarms.length > 0 ? [`Your swarms: ${swarms.map((one) => one.name).join(', ')}`] : []),
    near.length === 0
      ? 'Served on this network: nothing that answers'
      : `Served on this network: ${near.map(servedText).join(', ')}`,
    '',
    ...aligned([
      [`petals chat ${name}`, 'a conversation, on this machine alone if need be'],
      [`petals up ${name}`, 'a page and an API for your machines'],
      [`petals join ${name}`, 'serve some of its blocks to everybody'],
      ['petals --help', 'all commands']
    ])
  ]
  return print(`${lines.join('\n')}\n`)
}

function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([command]) => command.length))
  return rows.map(([command, about]) => `  ${command.padEnd(width)}  ${about}`)
}

function servedText({ name, servers, gaps }: ModelSummary): string {
  const count = `${servers} ${servers === 1 ? 'server' : 'servers'}`
  return `${name} (${count}${gaps.length > 0 ? ', some blocks missing' : ''})`
}

/** Models of servers on the local network, or at the bootstrap nodes that are set. */
async function servedNear(context: Context): Promise<readonly ModelSummary[]> {
  await using stack = new AsyncDisposableStack()
  const infos: ServerInfo[] = []
  const signal = AbortSignal.any([context.signal, timeout(stack)])
  try {
    const flags = { lan: context.bootstrap.length === 0 }
    const node = await openNode(stack, { flags, context, membership: undefined, log: silentLog })
    joinSoon(node)
    await Promise.race([node.ready(), until(signal)])
    if (signal.aborted) return []
    for await (const info of findAllServers(node, { signal })) infos.push(info)
  } catch {
    // What cannot be asked serves nothing that could be told.
  }
  return summarise(infos)
}

function timeout(stack: AsyncDisposableStack): AbortSignal {
  const controller = new AbortController()
  stack.defer(systemClock.after(LOOK_MS, () => controller.abort(), true))
  return controller.signal
}

function until(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
