// Who serves a model: looks the cells' topics up, reads the records of those who announce there,
// and asks the servers themselves whether they live. The rules for records are in record.ts.
import { toHex } from '../base/bytes.ts'
import { cancelled, toAppError, type AppError } from '../base/errors.ts'
import type { ServerInfo } from '../wire/types.ts'
import type { SwarmNode } from './node.ts'
import { measureRtts, reachLimitMs } from './dht/reach-time.ts'
import { judgeInfo } from './record.ts'
import { allServers, limiter, Search, serversOf, type Goal } from './search.ts'

export interface DirectoryEntry {
  readonly info: ServerInfo
  /**
   * 'alive': it answered and serves; 'silent': it does not answer yet, although its record is
   * fresh; 'gone': it says that it serves no more.
   */
  readonly state: 'alive' | 'silent' | 'gone'
  /** Why a silent one was not reached. */
  readonly why?: AppError
  readonly rttMs: number | undefined
  /** Tokens of trainings that it has computed, each way, as it says. */
  readonly trainedTokens?: number
}

export interface FindOptions {
  signal?: AbortSignal | undefined
  /** How long to look, ms. Default 3000. */
  timeoutMs?: number | undefined
  /** Ends the search early. Default: never. */
  enough?: (found: readonly ServerInfo[]) => boolean
  /** Servers, by hex key, whose records are read before anybody is looked up. Default: none. */
  known?: readonly string[]
}

export interface ProbeOptions {
  signal?: AbortSignal | undefined
  /** For reaching it and for the ping together, ms. Default: as round trips to the DHT say. */
  timeoutMs?: number | undefined
}

const MAX_PROBES = 32
/** Of servers whose records have all expired, so many are asked whether they live. */
const MAX_EXPIRED_PROBES = 4
const EXPIRED_PROBE_MS = 1_500

/** Servers of a model as their records arrive, each peer once, self left out. Ends by `options`. */
export function findServers(
  node: SwarmNode,
  model: Uint8Array,
  blockCount: number,
  options: FindOptions = {}
): AsyncGenerator<ServerInfo, void, void> {
  return search(node, serversOf(model, blockCount, node.swarmSecret), options)
}

/** Servers of all models of a swarm; of a large swarm some, by chance. */
export function findAllServers(
  node: SwarmNode,
  options: FindOptions = {}
): AsyncGenerator<ServerInfo, void, void> {
  return search(node, allServers(node.swarmSecret), options)
}

async function* search(
  node: SwarmNode,
  goal: Goal,
  options: FindOptions
): AsyncGenerator<ServerInfo, void, void> {
  const { signal, timeoutMs = 3000, enough = () => false, known = [] } = options
  if (signal?.aborted) throw cancelled('Looking for servers was cancelled')
  if (node.membership?.barred) throw node.membership.barred
  const looking = new Search(node, goal)
  const stop = node.clock.after(timeoutMs, () => looking.end())
  const onabort = (): void => looking.end(cancelled('Looking for servers was cancelled'))
  signal?.addEventListener('abort', onabort, { once: true })
  const found: ServerInfo[] = []
  try {
    looking.start(known)
    for (let info = await looking.next(); info; info = await looking.next()) {
      found.push(info)
      yield info
      if (enough(found)) return
    }
    // Heard of meanwhile: that nobody is found says less.
    if (node.membership?.barred) throw node.membership.barred
    if (found.length === 0 && looking.expired.length > 0) {
      await tellOfExpired(node, looking.expired, signal)
    }
  } finally {
    signal?.removeEventListener('abort', onabort)
    stop()
    looking.end()
  }
}

/**
 * The records of servers that died expire too. Only a server that answers although its record has
 * expired says that a clock is wrong.
 */
async function tellOfExpired(
  node: SwarmNode,
  expired: readonly Uint8Array[],
  signal: AbortSignal | undefined
): Promise<void> {
  const asked = expired.slice(0, MAX_EXPIRED_PROBES)
  const options = { signal, timeoutMs: EXPIRED_PROBE_MS }
  const answers = await Promise.allSettled(asked.map((peer) => node.connect(peer, options)))
  const alive = answers.filter((one) => one.status === 'fulfilled').length
  if (alive > 0) {
    node.log.warn(
      'Servers answer whose records have expired: their clocks or this machine’s are minutes off'
    )
  } else {
    node.log.debug(`${expired.length} servers' records have expired: they are gone`)
  }
}

/** Collects findServers(). */
export async function find(
  node: SwarmNode,
  model: Uint8Array,
  blockCount: number,
  options: FindOptions = {}
): Promise<ServerInfo[]> {
  const found: ServerInfo[] = []
  for await (const info of findServers(node, model, blockCount, options)) found.push(info)
  return found
}

/** Asks one server whether it lives and what it serves now. Never throws but for cancelling. */
export async function probe(
  node: SwarmNode,
  info: ServerInfo,
  options: ProbeOptions = {}
): Promise<DirectoryEntry> {
  const { signal, timeoutMs = await reachLimit(node) } = options
  const began = node.clock.now()
  try {
    const link = await node.connect(info.peer, { signal, timeoutMs })
    const rttMs = await link.ping(Math.max(1, timeoutMs - (node.clock.now() - began)))
    const { model, blockCount, peer } = info
    const wanted = { peer, model, blockCount, now: node.clock.wall() }
    for (const server of link.servers) {
      const verdict = judgeInfo(server, wanted)
      if (verdict.kind !== 'usable') continue
      return { info: verdict.info, state: 'alive', rttMs, trainedTokens: link.heard?.trained ?? 0 }
    }
    return { info, state: 'gone', rttMs }
  } catch (error) {
    if (signal?.aborted) throw cancelled('Asking servers was cancelled')
    const why = toAppError(error)
    node.log.debug(`${toHex(info.peer).slice(0, 8)} does not answer: ${why.message}`)
    return { info, state: 'silent', why, rttMs: undefined }
  }
}

/** How long reaching a server of this network may take, measured now, ms. */
export async function reachLimit(node: SwarmNode): Promise<number> {
  return reachLimitMs(await measureRtts(node.dht, node.clock))
}

/** Every server of a model that can be found, each asked whether it lives. */
export async function status(
  node: SwarmNode,
  model: Uint8Array,
  blockCount: number,
  options: FindOptions & { probeMs?: number } = {}
): Promise<DirectoryEntry[]> {
  const { signal } = options
  const timeoutMs = options.probeMs ?? (await reachLimit(node))
  const probing: Promise<DirectoryEntry>[] = []
  const gate = limiter(MAX_PROBES)
  for await (const info of findServers(node, model, blockCount, options)) {
    const entry = gate(() => probe(node, info, { signal, timeoutMs }))
    // Read below, all together; until then a failure is nobody's.
    entry.catch(() => {})
    probing.push(entry)
  }
  return Promise.all(probing)
}
