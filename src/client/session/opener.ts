// Opens a session on servers: connects, asks, waits for their answer, and connects to spares.
// Called by route-keeper.ts, which decides which servers. Knows no steps.
import type { BlockSpan } from '../../base/block-span.ts'
import { deadline, type Clock } from '../../base/clock.ts'
import { protocolError, toAppError, unsupported, type AppError } from '../../base/errors.ts'
import { fromWire } from '../../wire/peer-error.ts'
import type { PrefixMark, SessionOpened, WireError } from '../../wire/types.ts'
import type { ClientLink, Connections } from '../route/links.ts'
import type { PeerBook } from '../route/peers.ts'
import type { RouteHop } from '../route/route.ts'
import type { SessionAdapters } from './session-adapters.ts'
import { HopFailure } from './hop-failure.ts'
import { GONE_MS } from './repairs.ts'

export interface OpenerOptions {
  session: Uint8Array
  connections: Connections
  book: PeerBook
  /** Content id of the model. */
  model: Uint8Array
  /** Servers shall keep nothing of the session and drop what they kept. */
  forget?: boolean | undefined
  /** What the session runs with. */
  adapters?: SessionAdapters | undefined
  /** Whether a peer was given something of an adapter since then. */
  isGivingTo?: ((peer: string, since: number) => boolean) | undefined
  clock: Clock
}

/** How a session is opened on a server. */
export interface Opening {
  readonly maxTokens: number
  readonly signal: AbortSignal
  /** Prefixes of the session that the server may have kept. */
  readonly prefix?: (link: ClientLink) => readonly PrefixMark[]
  /** Longest time that the server may take, ms. Default 12,000. */
  readonly openMs?: number
}

export interface Opened {
  readonly link: ClientLink
  /** Positions that the server holds already. */
  readonly held: number
}

const OPEN_MS = 12_000
/**
 * First timeout for reaching a server, ms. On loopback a link takes 15 ms, through a consistent NAT
 * up to 100 ms.
 */
const FIRST_TRY_MS = 2_500

export class Opener {
  readonly #options: OpenerOptions
  readonly #opening = new Map<string, PromiseWithResolvers<SessionOpened>>()
  /** Servers that were not reached in time once. */
  readonly #tried = new Set<string>()

  constructor(options: OpenerOptions) {
    this.#options = options
  }

  /** Connects to a server and opens the session there. @throws HopFailure */
  async enter(planned: RouteHop, opening: Opening): Promise<Opened> {
    const { connections, session } = this.#options
    const { signal, openMs: mostMs = OPEN_MS } = opening
    let link: ClientLink | undefined
    try {
      // A dead server is noticed soon this way; one behind a difficult NAT or under load gets its
      // time at the second try.
      const openMs = this.#tried.has(planned.peer) ? mostMs : Math.min(FIRST_TRY_MS, mostMs)
      this.#tried.add(planned.peer)
      link = await connections.connect(planned.peer, signal, openMs)
      const held = await this.extend(link, planned, { ...opening, openMs })
      this.#tried.delete(planned.peer)
      return { link, held }
    } catch (error) {
      // It may still open a session that nobody waits for. The link is shared with others; whether
      // its server is alive is for the link to find out.
      if (link && !link.closed) link.closeSession({ session })
      if (error instanceof HopFailure) throw error
      // Where many DHT nodes are gone, living servers are found late: they are not avoided then.
      if (toAppError(error).code === 'TIMEOUT') this.warmUp([planned.peer])
      throw new HopFailure(planned.peer, toAppError(error), { blocks: planned })
    }
  }

  /**
   * Opens the session over a link, or changes what the server promised.
   * @returns positions that it holds already
   * @throws HopFailure
   */
  async extend(link: ClientLink, span: BlockSpan, opening: Opening): Promise<number> {
    const { maxTokens, signal, openMs = OPEN_MS } = opening
    const prefix = opening.prefix?.(link) ?? []
    const waiting = Promise.withResolvers<SessionOpened>()
    this.#opening.set(link.peer, waiting)
    const stop = link.awaited()
    try {
      const { model, session, clock, book, forget, adapters } = this.#options
      const { start, end } = span
      const sentAt = clock.now()
      const asked = prefix.length > 0 ? { prefix } : {}
      const brought = adapters === undefined ? {} : { adapters: adapters.wire }
      const message = { session, model, start, end, maxTokens, ...asked, ...brought }
      link.open(forget ? { ...message, forget } : message)
      const { held = 0, adapted } = await this.#answer(link, waiting.promise, { openMs, signal })
      if (adapters !== undefined && adapted !== true) {
        throw unsupported('The server does not use the adapters that it was asked to')
      }
      if (!link.isLocal && adapters === undefined) book.noteRtt(link.peer, clock.now() - sentAt)
      if (held === 0 || prefix.some((mark) => mark.length === held)) return held
      throw protocolError(`The server holds ${held} tokens that it was not asked for`)
    } catch (error) {
      const why = toAppError(error)
      throw new HopFailure(link.peer, why, { hung: why.code === 'TIMEOUT' && !link.closed })
    } finally {
      stop()
      this.#opening.delete(link.peer)
    }
  }

  /** Waits for the answer, longer while the server is being given adapters. */
  async #answer(
    link: ClientLink,
    opened: Promise<SessionOpened>,
    { openMs, signal }: { openMs: number; signal: AbortSignal }
  ): Promise<SessionOpened> {
    const { clock, isGivingTo = () => false } = this.#options
    for (;;) {
      const since = clock.now()
      try {
        return await deadline(opened, openMs, { clock, signal, what: 'Opening a session' })
      } catch (error) {
        if (toAppError(error).code !== 'TIMEOUT' || !isGivingTo(link.peer, since)) throw error
      }
    }
  }

  /**
   * Connects to servers that may be needed soon. Those that answer go before strangers from then
   * on, and those that do not behind them.
   */
  warmUp(peers: readonly string[]): void {
    for (const peer of peers) {
      this.#meet(peer).catch((error: unknown) => {
        const { clock, book } = this.#options
        const { code } = toAppError(error)
        if (code !== 'DISCONNECTED' && code !== 'TIMEOUT') return
        book.avoid(peer, clock.now() + GONE_MS, clock.wall())
      })
    }
  }

  async #meet(peer: string): Promise<void> {
    const { connections, book } = this.#options
    const link = await connections.connect(peer, new AbortController().signal, OPEN_MS)
    if (!link.isLocal) book.noteReached(peer, await link.ping(FIRST_TRY_MS))
  }

  onopened(link: ClientLink, message: SessionOpened): void {
    this.#opening.get(link.peer)?.resolve(message)
  }

  onerror(link: ClientLink, message: WireError): void {
    this.#opening.get(link.peer)?.reject(fromWire(message))
  }

  ondisconnect(link: ClientLink, why: AppError): void {
    this.#opening.get(link.peer)?.reject(why)
  }
}
