// This process in the swarm: a DHT node, the links to other peers, and what it serves.
// Called by server/host.ts (serve, update, leave, connect), client/connections.ts (connect) and
// directory.ts (dht). Knows no tensors and no sessions.
import type DHT from 'hyperdht'
import Hyperswarm from 'hyperswarm'
import { toHex } from '../base/bytes.ts'
import { deadline, systemClock, type Clock } from '../base/clock.ts'
import {
  badInput,
  closed,
  inUse,
  protocolError,
  toAppError,
  unavailable,
  type AppError
} from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../base/random.ts'
import { Resource } from '../base/resource.ts'
import { type LinkHandlers, PeerLink } from '../wire/link.ts'
import { DTYPES, PROTOCOL_VERSION } from '../wire/protocol.ts'
import type { ServerInfo, ServerStatus, WireError } from '../wire/types.ts'
import { TopicAnnouncer } from './announcer.ts'
import type { Capability, NamedModel } from './private/capability.ts'
import { ATTEMPT_MS, Dialer, type ConnectOptions } from './dialer.ts'
import type { Identity } from './identity.ts'
import { HandlerSet } from './link-handlers.ts'
import { LinkTable } from './link-table.ts'
import { Members } from './private/members.ts'
import type { Membership } from './private/membership.ts'
import { openDht } from './dht/own-dht.ts'
import type { SwarmNodeOptions } from './node-options.ts'
import { Publisher } from './publisher.ts'
import { LIFE_MS, MAX_RECORD_BYTES } from './record.ts'
import { RefusalLog } from './refusal-log.ts'
import { RevocationFeed } from './private/revocation-feed.ts'
import { isKeyInUse } from './dht/sole-key.ts'
import { SEAL_BYTES } from './private/seal.ts'

const SERVE_MS = 15_000
/** Who leaves says so, but waits for nobody who is gone. */
const LEAVE_MS = 2_000
const CLOSE_MS = 1_500
/** A first look for revoked invites; links bring them too. */
const REVOCATIONS_MS = 1_500
const IDLE: ServerStatus = { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }
/** What a peer over the limit is told to wait. */
const FULL_RETRY_MS = 5_000

export class SwarmNode extends Resource {
  readonly identity: Identity
  /** This peer's public key, 32 bytes. */
  readonly key: Uint8Array
  /** The same as hex. */
  readonly peer: string
  readonly clock: Clock
  readonly log: Log
  readonly random: Random
  readonly membership: Membership | undefined
  /** Resolves when this process is no member of its private swarm any more, with the reason. */
  readonly barred: Promise<AppError>
  readonly #options: SwarmNodeOptions
  readonly #links: LinkTable
  readonly #hosts = new Map<string, number>()
  readonly #refusals: RefusalLog
  readonly #handlers: HandlerSet
  readonly #stop = new AbortController()
  readonly #members: Members | undefined
  #feed: RevocationFeed | undefined
  #dht: DHT | undefined
  #swarm: Hyperswarm | undefined
  #dialer: Dialer | undefined
  #cells: TopicAnnouncer | undefined
  #words: TopicAnnouncer | undefined
  #publisher: Publisher | undefined
  #servers: readonly ServerInfo[] = []

  constructor(options: SwarmNodeOptions) {
    super()
    this.#options = options
    this.identity = options.identity
    this.key = options.identity.publicKey
    this.peer = toHex(this.key)
    this.clock = options.clock ?? systemClock
    this.log = options.log ?? silentLog
    this.membership = options.membership
    this.random = options.random ?? seededRandom(freshSeed())
    this.#links = new LinkTable(this.peer, this.clock)
    this.#handlers = new HandlerSet(this.log)
    this.#refusals = new RefusalLog(this.log, this.clock)
    this.#handlers.add(this.#own())
    const barred = Promise.withResolvers<AppError>()
    this.barred = barred.promise
    this.#members = this.#makeMembers(barred.resolve)
  }

  /** Keys the topics of a private swarm. */
  get swarmSecret(): Uint8Array | undefined {
    return this.membership?.topicSecret
  }

  /** Every open link. */
  get links(): Iterable<PeerLink> {
    return this.#links
  }

  /** The DHT, for directory.ts. */
  get dht(): DHT {
    if (!this.#dht || this.closing) throw closed('The swarm node is not open')
    return this.#dht
  }

  /**
   * A link to a peer that has said hello: the open one, or a new one.
   * @throws AppError TIMEOUT, DISCONNECTED, CANCELLED, BUSY or CLOSED
   */
  async connect(peer: Uint8Array, options: ConnectOptions = {}): Promise<PeerLink> {
    const id = toHex(peer)
    if (peer.byteLength !== 32 || id === this.peer) {
      throw badInput('The peer cannot be reached: its key is not one of another peer')
    }
    if (!this.#dialer || this.closing) throw closed('The swarm node is not open')
    if (this.membership?.barred) throw this.membership.barred
    const link = this.#links.get(id) ?? (await this.#dialer.connect(id, peer, options))
    if (options.serves) this.#checkServer(link, options.serves)
    return link
  }

  /**
   * What arrives over any link, whoever made it, goes to these handlers too, until the function
   * that is returned is called.
   */
  handle(handlers: LinkHandlers): () => void {
    return this.#handlers.add(handlers)
  }

  /** Ends an opening that is under way, too. */
  override close(): Promise<void> {
    this.#stop.abort()
    // It may wait for somebody who answers.
    if (!this.opened) void this.#options.rendezvous?.close()
    return super.close()
  }

  /** What a link's peer may do in a private swarm; undefined in an open one. */
  memberOf(link: object): Capability | undefined {
    return this.#members?.get(link)
  }

  /** What is served, as of now: what nobody updates must not grow old in a hello. */
  get served(): readonly ServerInfo[] {
    return this.#servers.map((info) => this.#stamp(info))
  }

  /** Takes a list of revoked invites in and passes it on. @throws AppError CORRUPT */
  learnRevocations(bytes: Uint8Array): void {
    this.#members?.learn(bytes)
  }

  /**
   * To be called before serving. @throws AppError IN_USE when another process serves under this key
   */
  async requireSoleKey(): Promise<void> {
    if (!(await isKeyInUse(this.dht, this.key, this.clock))) return
    throw inUse('Another server runs under the key of this one: its identity was copied', {
      hint: 'Give each server an identity of its own: another folder with --identity, or none'
    })
  }

  /** Announces a span and publishes its record; resolves when others can find it. */
  async serve(info: ServerInfo): Promise<void> {
    if (!this.#swarm || !this.#cells || !this.#publisher || this.closing) {
      throw closed('The swarm node is not open')
    }
    const { membership } = this
    membership?.require('serve')
    this.#servers = [this.#stamp(info)]
    const limit = { clock: this.clock, what: 'Announcing' }
    await deadline(
      Promise.all([
        this.#swarm.listen(),
        this.#cells.announce(info),
        this.#publisher.start(this.#servers)
      ]),
      SERVE_MS,
      limit
    )
  }

  /** Announces words by which others find this server, to fetch weights from it. */
  async offer(words: readonly string[]): Promise<void> {
    if (!this.#words || this.closing) throw closed('The swarm node is not open')
    await deadline(this.#words.announceWords(words), SERVE_MS, {
      clock: this.clock,
      what: 'Announcing'
    })
  }

  /** The DHT has other nodes now: what is served is made known to them too. */
  announceAgain(): void {
    this.#swarm?.server.refresh()
    this.#cells?.refresh()
    this.#words?.refresh()
    if (this.#servers.length > 0) this.#publisher?.update(this.#servers, true)
  }

  /** New numbers of the span that is served; the swarm and open links hear of them soon. */
  update(info: ServerInfo): void {
    const before = this.#servers[0]
    if (!before || !this.#publisher || !this.#cells) return
    this.#servers = [this.#stamp(info)]
    const moved = before.start !== info.start || before.end !== info.end
    if (moved) {
      this.#cells.announce(info).catch((error: unknown) => {
        this.log.warn(`the new span was not announced: ${toAppError(error).message}`)
      })
    }
    this.#publisher.update(this.#servers, moved || plans(before) !== plans(info))
  }

  /**
   * Says that nothing is served any more: to open links, in the record, and at the cells' topics.
   */
  async leave(): Promise<void> {
    this.#servers = []
    this.#announceToAll([])
    const limit = { clock: this.clock, what: 'Leaving' }
    const leaving = [this.#publisher?.stop(), this.#cells?.leave(), this.#words?.leave()]
    await deadline(Promise.all(leaving), LEAVE_MS, limit)
  }

  protected override async _open(): Promise<void> {
    if (this.membership?.barred) throw this.membership.barred
    const { rendezvous, bootstrap = [] } = this.#options
    const { signal } = this.#stop
    await rendezvous?.ready()
    const start = rendezvous ? rendezvous.start : { bootstrap }
    const options = { ...this.#options, ...start, clock: this.clock, log: this.log, signal }
    const dht = await openDht(options, (made) => (this.#dht = made))
    this.#swarm = new Hyperswarm({
      dht,
      keyPair: this.identity,
      ...(this.#options.relayThrough ? { relayThrough: this.#options.relayThrough } : {})
    })
    this.#swarm.on('connection', (stream) => this.#onincoming(stream))
    this.#dialer = new Dialer({
      dht,
      clock: this.clock,
      identity: this.identity,
      relayThrough: this.#options.relayThrough ?? null,
      // The attempt has a deadline of its own, which counts the hole punching.
      open: (stream) => this.#addLink(stream, ATTEMPT_MS)
    })
    this.#cells = new TopicAnnouncer(this.#swarm, this.swarmSecret)
    this.#words = new TopicAnnouncer(this.#swarm, this.swarmSecret)
    this.#publisher = this.#makePublisher(dht, this.#swarm, this.#cells)
    if (this.membership) await this.#followRevocations(dht, this.membership)
    rendezvous?.follow(this)
  }

  protected override async _close(): Promise<void> {
    const limit = { clock: this.clock, what: 'Closing the swarm node' }
    if (this.#servers.length > 0) await this.leave().catch(() => {})
    this.#feed?.stop()
    this.#members?.close()
    this.#dialer?.close()
    await Promise.all([...this.#links].map((link) => link.close()))
    const gone = this.#swarm ? this.#swarm.destroy() : this.#dht?.destroy({ force: true })
    await deadline(Promise.resolve(gone), CLOSE_MS, limit)
      // Nobody answers any more: without goodbyes then.
      .catch(() => this.#dht?.destroy({ force: true }))
      // What was never bound cannot be unbound.
      .catch((error: unknown) => this.log.debug(toAppError(error).message))
    await this.#options.rendezvous?.close()
  }

  #makePublisher(dht: DHT, swarm: Hyperswarm, cells: TopicAnnouncer): Publisher {
    const { membership } = this
    return new Publisher({
      clock: this.clock,
      random: this.random,
      log: this.log,
      maxBytes: MAX_RECORD_BYTES - (membership ? SEAL_BYTES : 0),
      put: async (record, seq) => {
        const value = Buffer.from(membership?.sealRecord(record) ?? record)
        const { closestNodes } = await dht.mutablePut(this.identity, value, { seq })
        if (closestNodes.length === 0) throw unavailable('No DHT node took the record')
      },
      lastSeq: async () => (await dht.mutableGet(this.key))?.seq ?? 0,
      onpublished: (servers) => this.#announceToAll(servers),
      onrefresh: () => {
        // A bootstrap node that was restarted has forgotten everything.
        swarm.server.refresh()
        cells.refresh()
        this.#words?.refresh()
      }
    })
  }

  /** Also to those whose hello is under way: ours may have gone before the news. */
  #announceToAll(servers: readonly ServerInfo[]): void {
    for (const link of this.#links) {
      if (!this.#members || this.#members.get(link)) link.announce({ servers })
    }
  }

  #onincoming(stream: DHT.Connection): void {
    const { maxLinks = 1024, maxLinksPerHost = 256 } = this.#options
    const host = stream.rawStream?.remoteHost ?? ''
    const fromHost = this.#hosts.get(host) ?? 0
    this.#hosts.set(host, fromHost + 1)
    stream.on('close', () => {
      const left = (this.#hosts.get(host) ?? 1) - 1
      if (left > 0) this.#hosts.set(host, left)
      else this.#hosts.delete(host)
    })
    const full = this.#links.size >= maxLinks || fromHost >= maxLinksPerHost
    // Some are told why; a flood is not worth the answer.
    if (this.closing || (full && fromHost >= 2 * maxLinksPerHost)) {
      stream.on('error', () => {})
      stream.destroy()
      return
    }
    if (full) this.#refuse(stream, host)
    else this.#addLink(stream)
  }

  /** Says that there is no room, and no more. */
  #refuse(stream: DHT.Connection, host: string): void {
    this.#refusals.refused(host, 'all the links that this peer takes are in use')
    const { agent = 'petals' } = this.#options
    const { status } = this.#handlers.handlers
    const refusal: WireError = {
      session: new Uint8Array(0),
      step: -1,
      code: 'BUSY',
      message: 'All the links that this peer takes are in use',
      retryable: true,
      retryAfterMs: FULL_RETRY_MS,
      // A stranger to a private swarm is told of the refusal alone.
      status: (this.membership ? undefined : status?.()) ?? IDLE
    }
    const said = this.membership ? '' : agent
    const hello = { version: PROTOCOL_VERSION, agent: said, dtypes: [], servers: [], refusal }
    new PeerLink(stream, { hello, handlers: {}, clock: this.clock, log: this.log }).destroy()
  }

  #addLink(stream: DHT.Connection, helloMs = 10_000): PeerLink {
    const { agent = 'petals', dtypes = DTYPES } = this.#options
    const members = this.#members
    const link = new PeerLink(stream, {
      ...(members
        ? {
            hello: (link) => members.hello(link),
            refusal: (link, hello) => {
              const refusal = members.refusal(link, hello)
              if (refusal && !link.initiator) {
                this.#refusals.refused(link.peer.slice(0, 8), refusal.why.message)
              }
              return refusal
            }
          }
        : { hello: { version: PROTOCOL_VERSION, agent, dtypes, servers: this.served } }),
      handlers: this.#handlers.handlers,
      helloMs,
      clock: this.clock,
      log: this.log
    })
    if (!link.closed) this.#links.add(link)
    return link
  }

  /** What the node itself does with what arrives, before others hear of it. */
  #own(): LinkHandlers {
    return {
      onready: (link) => {
        this.#members?.onready(link)
        if (!link.closed) this.#dialer?.onready(link)
      },
      onannounce: (link, message) => this.#members?.onannounce(link, message),
      onclosed: (link) => this.#links.remove(link)
    }
  }

  #makeMembers(onbarred: (error: AppError) => void): Members | undefined {
    if (!this.membership) return undefined
    return new Members({
      membership: this.membership,
      self: this.key,
      dtypes: this.#options.dtypes ?? DTYPES,
      clock: this.clock,
      log: this.log,
      links: () => this.#links,
      servers: () => this.served,
      onbarred: (error) => {
        const all = [...this.#links]
        for (const link of all) link.destroy(error)
        onbarred(error)
      }
    })
  }

  async #followRevocations(dht: DHT, membership: Membership): Promise<void> {
    this.#feed = new RevocationFeed({
      dht,
      keys: membership.invite,
      clock: this.clock,
      random: this.random,
      log: this.log,
      onlist: (bytes) => this.#members?.learn(bytes),
      seq: () => membership.revocations?.seq ?? 0
    })
    await this.#feed.start(REVOCATIONS_MS)
    if (membership.barred) throw membership.barred
  }

  /** @throws AppError PROTOCOL: the fault of the peer, so that it is avoided */
  #checkServer(link: PeerLink, model: NamedModel): void {
    const why = this.#members?.whyNot(link, 'serve', model)
    if (why === undefined) return
    throw protocolError(`Peer ${link.peer.slice(0, 8)} may not serve this: ${why}`)
  }

  #stamp(info: ServerInfo): ServerInfo {
    const issuedAt = Math.floor(this.clock.wall())
    return { ...info, peer: this.key, issuedAt, expiresAt: issuedAt + LIFE_MS }
  }
}

/** What of an info cannot wait to be heard, beside its blocks. */
function plans({ draining, next }: ServerInfo): string {
  return [draining, next?.start, next?.end, next?.left].join()
}
