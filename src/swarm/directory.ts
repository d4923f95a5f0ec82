// Who serves a model: looks the cells' topics up, reads the records of those who announce there,
// and asks the servers themselves whether they live. The rules for records are in record.ts.
import type DHT from 'hyperdht'
import { toHex } from '../base/bytes.ts'
import { deadline } from '../base/clock.ts'
import { cancelled, toAppError, type AppError } from '../base/errors.ts'
import type { ServerInfo } from '../wire/types.ts'
import type { SwarmNode } from './node.ts'
import { measureRtts, reachLimitMs } from './dht/reach-time.ts'
import { judgeInfo, usableInfos } from './record.ts'
import { cellsOf, topicOf } from './topics.ts'

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

/** Records read at a time: more would only fill the DHT's own window of requests. */
const MAX_READS = 16
/**
 * Servers looked at in one search: more than a route needs, less than a flood of fake ones brings.
 */
const MAX_PEERS = 512
const MAX_PROBES = 32
/** Known servers asked for at once: a route or two. */
const MAX_KNOWN = 16
/** A node that is gone holds a search up for 6 s; on the public DHT most end within this. */
const NEWEST_MS = 1_000
const MINUTES_WARNING = 'their clocks or this machine’s may be minutes off'

/** Servers of a model as their records arrive, each peer once, self left out. Ends by `options`. */
export async function* findServers(
  node: SwarmNode,
  model: Uint8Array,
  blockCount: number,
  options: FindOptions = {}
): AsyncGenerator<ServerInfo, void, void> {
  const { signal, timeoutMs = 3000, enough = () => false, known = [] } = options
  if (signal?.aborted) throw cancelled('Looking for servers was cancelled')
  if (node.membership?.barred) throw node.membership.barred
  const search = new Search(node, model, blockCount)
  const stop = node.clock.after(timeoutMs, () => search.end())
  const onabort = (): void => search.end(cancelled('Looking for servers was cancelled'))
  signal?.addEventListener('abort', onabort, { once: true })
  const found: ServerInfo[] = []
  try {
    search.start(known)
    for (let info = await search.next(); info; info = await search.next()) {
      found.push(info)
      yield info
      if (enough(found)) return
    }
    // Heard of meanwhile: that nobody is found says less.
    if (node.membership?.barred) throw node.membership.barred
    if (found.length === 0 && search.expired > 0) {
      node.log.warn(`${search.expired} servers were found, all expired: ${MINUTES_WARNING}`)
    }
  } finally {
    signal?.removeEventListener('abort', onabort)
    stop()
    search.end()
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
      if (verdict.kind === 'usable') return { info: verdict.info, state: 'alive', rttMs }
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

/** One look at the DHT: lookups of all cells and reads of records, side by side. */
class Search {
  /** Servers whose records were too old. */
  expired = 0
  readonly #node: SwarmNode
  readonly #model: Uint8Array
  readonly #blockCount: number
  readonly #session: DHT.Session
  readonly #seen = new Set<string>()
  readonly #found: ServerInfo[] = []
  readonly #gate = limiter(MAX_READS)
  #wake: PromiseWithResolvers<void> = Promise.withResolvers()
  #open = 0
  #ended = false
  #error: AppError | undefined

  constructor(node: SwarmNode, model: Uint8Array, blockCount: number) {
    this.#node = node
    this.#model = model
    this.#blockCount = blockCount
    this.#session = node.dht.session()
    this.#seen.add(node.peer)
  }

  start(known: readonly string[]): void {
    for (const peer of known.slice(0, MAX_KNOWN)) this.#readOnce(Buffer.from(peer, 'hex'))
    for (const cell of cellsOf(0, this.#blockCount, this.#blockCount)) {
      this.#run(() => this.#lookUp(topicOf(this.#model, cell, this.#node.swarmSecret)))
    }
  }

  /** The next server, or undefined at the end. */
  async next(): Promise<ServerInfo | undefined> {
    while (true) {
      if (this.#error) throw this.#error
      const info = this.#found.shift()
      if (info || this.#ended || this.#open === 0) return info
      this.#wake = Promise.withResolvers()
      await this.#wake.promise
    }
  }

  /** Ends everything under way. */
  end(error?: AppError): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    this.#session.destroy()
    this.#wake.resolve()
  }

  /** Runs a part of the search; one that fails (a node that does not answer) ends alone. */
  #run(part: () => Promise<void>): void {
    this.#open++
    part()
      .catch((error: unknown) => {
        if (!this.#ended) this.#node.log.debug(`a look-up failed: ${toAppError(error).message}`)
      })
      .finally(() => {
        this.#open--
        this.#wake.resolve()
      })
  }

  async #lookUp(topic: Uint8Array): Promise<void> {
    const query = this.#node.dht.lookup(Buffer.from(topic), { session: this.#session })
    for await (const { peers } of query) {
      for (const { publicKey } of peers) this.#readOnce(publicKey)
      if (this.#ended) return
    }
  }

  #readOnce(publicKey: Uint8Array): void {
    const peer = toHex(publicKey)
    if (this.#ended || this.#seen.has(peer) || this.#seen.size > MAX_PEERS) return
    this.#seen.add(peer)
    this.#run(() => this.#gate(() => this.#read(publicKey)))
  }

  /** The newest record there is, or the first found when nodes that are gone hold the search up. */
  async #newest(key: Uint8Array): Promise<DHT.MutableRecord | null> {
    const { dht, clock } = this.#node
    const session = this.#session
    const newest = dht.mutableGet(key, { session })
    return deadline(newest, NEWEST_MS, { clock }).catch((error: unknown) => {
      if (toAppError(error).code !== 'TIMEOUT' || this.#ended) throw error
      return Promise.any([newest, dht.mutableGet(key, { session, latest: false })])
    })
  }

  async #read(peer: Uint8Array): Promise<void> {
    if (this.#ended) return
    const { clock, log, membership } = this.#node
    const record = await this.#newest(Buffer.from(peer))
    if (!record || this.#ended) return
    const value = membership ? membership.openRecord(record.value) : record.value
    if (!value) return log.debug(`a record of ${toHex(peer).slice(0, 8)} is no member's`)
    const wanted = { peer, model: this.#model, blockCount: this.#blockCount, now: clock.wall() }
    const usable = usableInfos(value, wanted, (why) => {
      if (why === 'expired') this.expired++
      log.debug(`a record of ${toHex(peer).slice(0, 8)} is not used: ${why}`)
    })
    this.#found.push(...usable)
    this.#wake.resolve()
  }
}

/** Runs at most `limit` tasks at a time, the others in turn. */
function limiter(limit: number): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (task) => {
    if (running < limit) running++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = waiting.shift()
      // The place is handed on, so that nobody new can take it in between.
      if (next) next()
      else running--
    }
  }
}
