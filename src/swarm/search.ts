// One look at the DHT for the servers of a model: look-ups of all cells and reads of records, side
// by side. A cell with more servers than one answer holds is looked up again and again, since DHT
// nodes name others each time. Called by directory.ts. Asks no server.
import type DHT from 'hyperdht'
import { toHex } from '../base/bytes.ts'
import { deadline } from '../base/clock.ts'
import { toAppError, type AppError } from '../base/errors.ts'
import type { ServerInfo } from '../wire/types.ts'
import { Candidates } from './candidates.ts'
import type { SwarmNode } from './node.ts'
import { usableInfos, type Wanted } from './record.ts'
import { cellsOf, modelsTopic, topicOf } from './topics.ts'

/** Records read at a time: more would only fill the DHT's own window of requests. */
const MAX_READS = 16
/** Known servers asked for at once: a route or two. */
const MAX_KNOWN = 16
/** A node that is gone holds a search up for 6 s; on the public DHT most end within this. */
const NEWEST_MS = 1_000
/** A DHT node names no more than this many in an answer, by chance: there may be others. */
const FULL_ANSWER = 20

/** A cell of its own: those who are known already. */
const KNOWN = -1

/** What is looked for, and where. */
export interface Goal extends Pick<Wanted, 'model' | 'blockCount'> {
  readonly topics: readonly Uint8Array[]
}

/** Servers of one model. */
export function serversOf(model: Uint8Array, blockCount: number, secret?: Uint8Array): Goal {
  const cells = cellsOf(0, blockCount, blockCount)
  return { model, blockCount, topics: cells.map((cell) => topicOf(model, cell, secret)) }
}

/** Servers of all models. */
export function allServers(secret?: Uint8Array): Goal {
  return { topics: [modelsTopic(secret)] }
}

export class Search {
  /** Keys of servers whose records were too old. */
  readonly expired: Uint8Array[] = []
  readonly #node: SwarmNode
  readonly #goal: Goal
  readonly #session: DHT.Session
  readonly #candidates: Candidates
  readonly #found: ServerInfo[] = []
  #reading = 0
  #wake: PromiseWithResolvers<void> = Promise.withResolvers()
  #open = 0
  #ended = false
  #error: AppError | undefined

  constructor(node: SwarmNode, goal: Goal) {
    this.#node = node
    this.#goal = goal
    this.#session = node.dht.session()
    this.#candidates = new Candidates(node.random, node.peer)
  }

  start(known: readonly string[]): void {
    this.#candidates.add(KNOWN, 'known', known.slice(0, MAX_KNOWN))
    this.#readMore()
    for (const [cell, topic] of this.#goal.topics.entries()) {
      this.#run(() => this.#lookUp(cell, topic))
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

  async #lookUp(cell: number, topic: Uint8Array): Promise<void> {
    while (!this.#ended) {
      const query = this.#node.dht.lookup(Buffer.from(topic), { session: this.#session })
      let fresh = 0
      let isFull = false
      for await (const { from, peers } of query) {
        fresh += this.#candidates.add(cell, from.host, peers.map(keyOf))
        isFull ||= peers.length >= FULL_ANSWER
        this.#readMore()
        if (this.#ended) return
      }
      if (fresh === 0 || !isFull || this.#candidates.full) return
    }
  }

  #readMore(): void {
    while (!this.#ended && this.#reading < MAX_READS) {
      const peer = this.#candidates.next()
      if (peer === undefined) return
      this.#reading++
      this.#run(async () => {
        try {
          await this.#read(Buffer.from(peer, 'hex'))
        } finally {
          this.#reading--
          this.#readMore()
        }
      })
    }
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
    const { model, blockCount } = this.#goal
    const wanted = { peer, model, blockCount, now: clock.wall() }
    const usable = usableInfos(value, wanted, (why) => {
      if (why === 'expired') this.expired.push(peer)
      log.debug(`a record of ${toHex(peer).slice(0, 8)} is not used: ${why}`)
    })
    this.#found.push(...usable)
    this.#wake.resolve()
  }
}

function keyOf({ publicKey }: { readonly publicKey: Uint8Array }): string {
  return toHex(publicKey)
}

/** Runs at most `limit` tasks at a time, the others in turn. */
export function limiter(limit: number): <T>(task: () => Promise<T>) => Promise<T> {
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
