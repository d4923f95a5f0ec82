// The links of a private swarm's node: what each hello says, which peer is let in, what is passed
// on to others, and which links end when an invite expires or is revoked. Called by node.ts for
// every link. Knows no DHT.
import type { Clock } from '../../base/clock.ts'
import { denied, protocolError, toAppError, type AppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { PeerLink } from '../../wire/link.ts'
import { PROTOCOL_VERSION } from '../../wire/protocol.ts'
import type { Refusal } from '../../wire/handlers.ts'
import type { Announce, Hello, ServerInfo, WireDtype } from '../../wire/types.ts'
import { whyNot, type Capability, type NamedModel } from './capability.ts'
import type { Act } from './invite-codec.ts'
import type { Membership } from './membership.ts'
import type { Proved } from './proof.ts'

export interface MembersOptions {
  membership: Membership
  /** This end's public key. */
  self: Uint8Array
  dtypes: readonly WireDtype[]
  clock: Clock
  log: Log
  links: () => Iterable<PeerLink>
  /** What this end serves now. */
  servers: () => readonly ServerInfo[]
  /** Called when this process is no longer a member. */
  onbarred: (error: AppError) => void
}

interface Member {
  readonly capability: Capability
  /** Number of the newest list of revoked invites that the peer has or was sent. */
  revocationSeq: number
}

/** Timers hold at most 24 days, and looking every hour costs nothing. */
const MOST_MS = 3_600_000

export class Members {
  readonly #options: MembersOptions
  readonly #byLink = new WeakMap<object, Member>()
  #stopTimer: () => void = () => {}
  #closed = false

  constructor(options: MembersOptions) {
    this.#options = options
  }

  /** What the peer of a link may do; undefined until its proof was checked. */
  get(link: object): Capability | undefined {
    return this.#byLink.get(link)?.capability
  }

  /**
   * Makes the hello: it tells members who this end is, and tells nobody yet what it serves.
   * @throws AppError
   */
  hello(link: PeerLink): Hello {
    const { membership, self, dtypes } = this.#options
    const { initiator, handshakeHash } = link
    if (!handshakeHash) throw protocolError('The connection has no handshake to prove oneself on')
    const proof = membership.prove({ handshakeHash, prover: self, initiator })
    return { version: PROTOCOL_VERSION, agent: '', dtypes, servers: [], proof }
  }

  /** Why a peer is refused; undefined: it is a member from now on. */
  refusal(link: PeerLink, hello: Hello): Refusal | undefined {
    const { membership } = this.#options
    const { initiator, handshakeHash, key } = link
    try {
      if (!handshakeHash) throw denied('the connection has no handshake')
      const context = { handshakeHash, prover: key, initiator: !initiator }
      const proved = membership.check(context, hello.proof)
      const why = membership.whyBarred(proved.capability)
      if (why === undefined) this.#byLink.set(link, { ...proved })
      else return { why: this.#turnAway(link, why, proved), isTold: true }
    } catch (error) {
      // A stranger is told nothing, not even that this is a swarm.
      const { message } = toAppError(error)
      return { why: denied(`The peer is not let in: ${message}`), isTold: false }
    }
    // Tells the member what a stranger must not learn, and that it was let in.
    this.#announce(link)
    return undefined
  }

  /** Each end has let the other in. */
  onready(link: PeerLink): void {
    this.#checkServing(link, link.servers)
    this.#watch()
  }

  onannounce(link: PeerLink, message: Announce): void {
    this.#checkServing(link, message.servers)
    if (!message.revocations) return
    try {
      this.learn(message.revocations, link)
    } catch (error) {
      link.destroy(
        protocolError(`The peer passed on what is refused: ${toAppError(error).message}`)
      )
    }
  }

  /**
   * Takes a list of revoked invites from anywhere: applies it and passes it on.
   * @throws AppError
   */
  learn(bytes: Uint8Array, from?: PeerLink): void {
    const { membership, log, links } = this.#options
    const news = membership.learn(bytes)
    const member = from && this.#byLink.get(from)
    const list = membership.revocations
    if (member && list && news) member.revocationSeq = list.seq
    if (!news || !list) return
    log.debug(`revoked invites: list ${list.seq} of ${list.ids.size}`)
    // Also sent to members that it revokes, before their links end, so that they learn why.
    const all = [...links()]
    for (const link of all) {
      const known = this.#byLink.get(link)
      if (known && !link.closed && known.revocationSeq < list.seq) this.#announce(link)
    }
    this.sweep()
  }

  /** Ends the links of peers that are no longer members. */
  sweep(): void {
    const { membership, links, onbarred, log } = this.#options
    // destroy() removes links from the set that links() iterates.
    const all = [...links()]
    for (const link of all) {
      const member = this.#byLink.get(link)
      const why = member && membership.whyBarred(member.capability)
      if (why === undefined || link.closed) continue
      log.info(`${link.peer.slice(0, 8)} is no member any more: ${why}`)
      link.destroy(denied(`The peer is no member any more: ${why}`))
    }
    if (membership.barred) onbarred(membership.barred)
    this.#watch()
  }

  /** Why the peer of a link may not do this; undefined when it may. */
  whyNot(link: object, act: Act, model?: NamedModel): string | undefined {
    const member = this.#byLink.get(link)
    if (!member) return 'it is no member of this swarm'
    return whyNot(member.capability, { act, model })
  }

  close(): void {
    this.#closed = true
    this.#stopTimer()
  }

  /** A member that may not serve but says that it does would attract other clients' steps. */
  #checkServing(link: PeerLink, servers: readonly ServerInfo[]): void {
    const why = servers.length > 0 ? this.whyNot(link, 'serve') : undefined
    if (why !== undefined) link.destroy(denied(`The peer says that it serves: ${why}`))
  }

  /** A peer that was a member gets the list that says that it no longer is. */
  #turnAway(link: PeerLink, why: string, { revocationSeq }: Proved): AppError {
    const list = this.#options.membership.revocations
    if (list && revocationSeq < list.seq) {
      link.announce({ servers: [], revocations: list.bytes })
    }
    return denied(`The peer is not let in: ${why}`)
  }

  #announce(link: PeerLink): void {
    const { servers, membership } = this.#options
    const member = this.#byLink.get(link)
    const list = membership.revocations
    const behind = member && list && member.revocationSeq < list.seq
    if (behind) member.revocationSeq = list.seq
    link.announce({ servers: servers(), ...(behind ? { revocations: list.bytes } : {}) })
  }

  /** Checks again when the next invite expires. */
  #watch(): void {
    const { clock, membership, links } = this.#options
    this.#stopTimer()
    if (this.#closed) return
    const ends = [...links()].map((link) => this.get(link)?.expiresAt ?? Infinity)
    const next = Math.min(membership.barred ? Infinity : membership.own.expiresAt, ...ends)
    if (next === Infinity) return
    const ms = Math.min(Math.max(0, next - clock.wall()), MOST_MS)
    this.#stopTimer = clock.after(ms, () => this.sweep(), true)
  }
}
