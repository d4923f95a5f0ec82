// Adapters by their names: a folder, a GGUF, a hub's repository, or a content id that servers know.
// Knows no sessions.
import { stat } from 'node:fs/promises'
import { toHex } from '../../base/bytes.ts'
import { badInput, notFound } from '../../base/errors.ts'
import { systemClock, type Clock } from '../../base/clock.ts'
import { noProgress, type Progress } from '../../base/progress.ts'
import type { WeightedPack } from '../../client/session/session-adapters.ts'
import { parseRepoName } from '../../model/hub/repo-name.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { NamedModel } from '../../swarm/private/capability.ts'
import { readAdapter } from '../../tune/adapter/read-adapter.ts'
import { AdapterPack, type AdapterModel } from '../../weights/adapters/adapter-pack.ts'
import { askingSource } from '../../weights/adapters/ask-adapter.ts'
import { fetchAdapter } from '../../weights/adapters/fetch-adapter.ts'
import { WeightAsker } from '../../weights/weight-asker.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Surroundings } from '../surroundings.ts'
import { fetchAdapterRepo } from './adapter-repo.ts'
import { hubOptions } from './hub-env.ts'
import { transferLine } from './transfer-line.ts'

export interface OpenAdapterOptions {
  readonly surroundings: Surroundings
  readonly model: AdapterModel
  /** Who may have adapters that are named by their ids. Default: nobody. */
  readonly swarm?:
    | {
        readonly node: SwarmNode
        readonly serves: NamedModel
        readonly servers: () => Promise<readonly ServerInfo[]>
      }
    | undefined
  readonly progress?: Progress | undefined
}

/** Numbers of requests begin here: those of other askers of the node are others. */
const REQUESTS = 2 ** 41
const SILENCE_MS = 20_000
const CONNECT_MS = 10_000
const ID = /^[0-9a-f]{64}$/
const WEIGHT = /^(.+):([+-]?\d+(?:\.\d+)?)$/

/** A name and the factor behind it: `folder:0.5`. */
export function parseAdapter(text: string): { readonly name: string; readonly weight: number } {
  const [, name = text, weight = '1'] = WEIGHT.exec(text) ?? []
  if (name === '') throw badInput('An adapter has no name')
  return { name, weight: Number(weight) }
}

/** @throws AppError NOT_FOUND, BAD_INPUT, UNSUPPORTED for what cannot be applied */
export async function openAdapters(
  texts: readonly string[],
  options: OpenAdapterOptions
): Promise<readonly WeightedPack[]> {
  const { progress = noProgress } = options
  try {
    const opened: WeightedPack[] = []
    for (const text of texts) {
      // A file may be called so.
      const isWhole = (await stat(text).catch(() => undefined)) !== undefined
      const { name, weight } = isWhole ? { name: text, weight: 1 } : parseAdapter(text)
      progress.stage(`opening ${name}`)
      opened.push({ pack: await openAdapter(name, options), weight })
    }
    return opened
  } finally {
    progress.done()
  }
}

async function openAdapter(name: string, options: OpenAdapterOptions): Promise<AdapterPack> {
  const { model, surroundings, progress = noProgress } = options
  const isHere = (await stat(name).catch(() => undefined)) !== undefined
  if (!isHere && ID.test(name)) return fromPeers(name, options, systemClock)
  const repo = isHere ? undefined : parseRepoName(name)
  if (repo === undefined) return new AdapterPack(await readAdapter(name, model), model)
  const { paths, env, signal, log } = surroundings
  const path = await fetchAdapterRepo(repo, {
    cacheDir: paths.cache,
    hub: await hubOptions(env),
    signal,
    ...(log === undefined ? {} : { log }),
    onprogress: transferLine(progress, name)
  })
  return new AdapterPack(await readAdapter(path, model), model)
}

async function fromPeers(
  name: string,
  { model, surroundings, swarm }: OpenAdapterOptions,
  clock: Clock
): Promise<AdapterPack> {
  if (swarm === undefined) throw notFound('Adapters are asked for by id in a swarm alone')
  const { node, serves, servers } = swarm
  const { signal } = surroundings
  const begins = Buffer.from(name.slice(0, 16), 'hex')
  const infos = await servers()
  const having = infos.filter(({ adapters = [] }) =>
    adapters.some((one) => Buffer.compare(one, begins) === 0)
  )
  // An info has room for a few ids: others may have it, too.
  const all = [...having, ...infos.filter((info) => !having.includes(info) && info.adapters)]
  const asker = new WeightAsker(clock, SILENCE_MS, REQUESTS)
  const stop = node.handle(asker.handlers)
  try {
    const links = await Promise.allSettled(
      all
        .filter(({ peer }) => toHex(peer) !== node.peer)
        .map(({ peer }) => node.connect(peer, { signal, timeoutMs: CONNECT_MS, serves }))
    )
    const sources = links.flatMap((one) =>
      one.status === 'fulfilled' ? [askingSource(asker, one.value)] : []
    )
    return await fetchAdapter(name, model, sources, signal)
  } finally {
    stop()
  }
}
