// Blocks that this process serves to a swarm, for its own client: reached by loopback links instead
// of a connection to itself. Created by whoever serves and asks at once. Knows no swarm.
import type { BlockSpan } from '../base/block-span.ts'
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { closed, type AppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { buildInfo } from '../base/version.ts'
import type { Quant } from '../blocks/types.ts'
import type { ClientLink, SessionEvents } from '../client/route/links.ts'
import type { LocalServers } from '../client/route/local-servers.ts'
import type { Model } from '../model/types.ts'
import { describeSpan } from '../server/describe.ts'
import type { Host } from '../server/host.ts'
import type { ServerInfo } from '../wire/types.ts'
import { openLoopback, type Loopback } from './loopback.ts'

type Serving = NonNullable<Host['serving']>

export interface HostedBlocksOptions {
  /** Serves the blocks; the caller opens and closes it. */
  host: Pick<Host, 'serving'>
  model: Model
  quant: Quant
  clock?: Clock
  log?: Log
}

/** A route may use other servers between blocks that are served here. */
const KEYS = 2

export class HostedBlocks implements LocalServers {
  readonly kept: undefined = undefined
  readonly #options: HostedBlocksOptions
  readonly #clock: Clock
  readonly #listeners = new Map<string, SessionEvents>()
  readonly #keys = Array.from({ length: KEYS }, () => crypto.getRandomValues(new Uint8Array(32)))
  #opened: { readonly serving: Serving; readonly loopback: Loopback } | undefined

  constructor(options: HostedBlocksOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  get infos(): readonly ServerInfo[] {
    const { serving } = this.#options.host
    if (!serving || serving.server.draining) return []
    return this.#keys.map((key) => this.#describe(serving, key))
  }

  /** The host has loaded them already. */
  async ready(): Promise<void> {}

  /** Only the host decides what is loaded. */
  async fillGaps(
    _gaps: readonly BlockSpan[],
    _signal?: AbortSignal
  ): Promise<AppError | undefined> {
    return undefined
  }

  connect(peer: string): ClientLink | undefined {
    return this.#loopback()?.links.find((link) => link.peer === peer)
  }

  listen(session: Uint8Array, events: SessionEvents): () => void {
    const id = toHex(session)
    this.#listeners.set(id, events)
    return () => void this.#listeners.delete(id)
  }

  /** Links to what the host serves now; links to what it served before are given up. */
  #loopback(): Loopback | undefined {
    const { host, log = silentLog } = this.#options
    const { serving } = host
    if (this.#opened && this.#opened.serving !== serving) this.#giveUp(this.#opened.loopback)
    if (!serving) return undefined
    this.#opened ??= {
      serving,
      loopback: openLoopback({
        server: serving.server,
        keys: this.#keys,
        infoOf: (key) => this.#describe(serving, key),
        listener: (session) => this.#listeners.get(toHex(session)),
        onresult: () => {},
        log
      })
    }
    return this.#opened.loopback
  }

  #giveUp(loopback: Loopback): void {
    this.#opened = undefined
    loopback.close()
    const why = closed('The blocks are not served here any more')
    for (const link of loopback.links) {
      for (const events of this.#listeners.values()) events.ondisconnect(link, why)
    }
  }

  #describe({ span, speed, server }: Serving, peer: Uint8Array): ServerInfo {
    const { model, quant } = this.#options
    const info = describeSpan({
      model,
      span,
      quant,
      speed,
      freeTokens: server.freeTokens,
      adapters: server.announcedAdapters,
      trains: span.trains === true,
      version: buildInfo().version
    })
    return { ...info, peer, issuedAt: this.#clock.wall(), expiresAt: Infinity }
  }
}
