// One UDX stream between two peers, straight or through a proxy, and the handles that tests use on
// it.
import type { Peer, StreamReport } from './peer.ts'
import { type ProxyOptions, UdpProxy } from './proxy.ts'

export interface Digest {
  bytes: number
  sha256: string
}

export interface WriteOptions {
  bytes: number
  seed: number
  chunk?: number
  end?: boolean
}

export interface WaitOptions {
  event?: string
  count?: number
  bytes?: number
  asked?: number
}

export type Firewall = 'default' | 'accept' | 'reject' | 'connect'

export interface StreamOptions {
  seq?: number
  framed?: boolean
  firewall?: Firewall
}

export interface LinkOptions {
  proxy?: Omit<ProxyOptions, 'target'>
  a?: StreamOptions
  b?: StreamOptions
  /** Connect the two ends; default true. */
  connect?: boolean
}

export interface Address {
  socket: number
  port: number
}

let nextId = 1

/** A stream id that no other test of this process uses. */
export function freshId(): number {
  return nextId++
}

export function openSocket(peer: Peer): Promise<Address> {
  return peer.call<Address>('socket')
}

/** One end of a stream inside a peer. */
export class End {
  readonly peer: Peer
  readonly id: number
  readonly remoteId: number
  readonly at: Address
  /** The port this end sends to. */
  readonly towards: number

  constructor(peer: Peer, at: Address, ids: { own: number; remote: number }, towards: number) {
    this.peer = peer
    this.at = at
    this.id = ids.own
    this.remoteId = ids.remote
    this.towards = towards
  }

  open(options: StreamOptions = {}): Promise<unknown> {
    return this.peer.call('stream', { id: this.id, remoteId: this.remoteId, ...options })
  }

  connect(ack?: number): Promise<unknown> {
    const { id, remoteId, at, towards } = this
    const args = { id, remoteId, socket: at.socket, port: towards }
    return this.peer.call('connect', ack === undefined ? args : { ...args, ack })
  }

  write(options: WriteOptions): Promise<Digest> {
    return this.peer.call('write', { id: this.id, ...options }, 60_000)
  }

  end(): Promise<unknown> {
    return this.peer.call('end', { id: this.id })
  }

  destroy(): Promise<unknown> {
    return this.peer.call('destroy', { id: this.id })
  }

  report(): Promise<StreamReport> {
    return this.peer.call('report', { id: this.id })
  }

  wait(until: WaitOptions, timeoutMs = 50_000): Promise<StreamReport> {
    return this.peer.call('wait', { id: this.id, ...until }, timeoutMs)
  }

  closed(timeoutMs = 50_000): Promise<StreamReport> {
    return this.wait({ event: 'close' }, timeoutMs)
  }

  message(size: number, seed: number): Promise<string> {
    return this.peer.call('message', { id: this.id, size, seed })
  }
}

export interface Link {
  a: End
  b: End
  proxy: UdpProxy | undefined
  [Symbol.asyncDispose](): Promise<void>
}

export async function openLink(a: Peer, b: Peer, options: LinkOptions = {}): Promise<Link> {
  const [atA, atB] = await Promise.all([openSocket(a), openSocket(b)])
  const proxy =
    options.proxy && (await UdpProxy.open({ ...options.proxy, target: { port: atB.port } }))
  const ids = { a: freshId(), b: freshId() }
  const towardsA = proxy ? await proxy.admit({ port: atA.port }) : atA.port
  const link = {
    a: new End(a, atA, { own: ids.a, remote: ids.b }, proxy ? proxy.port : atB.port),
    b: new End(b, atB, { own: ids.b, remote: ids.a }, towardsA),
    proxy,
    async [Symbol.asyncDispose](): Promise<void> {
      await Promise.all([link.a.destroy(), link.b.destroy()])
      proxy?.close()
    }
  }
  await Promise.all([link.a.open(options.a), link.b.open(options.b)])
  if (options.connect ?? true) {
    await Promise.all([link.a.connect(options.b?.seq), link.b.connect(options.a?.seq)])
  }
  return link
}

export interface Exchange {
  a: StreamReport
  b: StreamReport
  sentByA: Digest
  sentByB: Digest
}

export interface ExchangeOptions {
  seed?: number
  timeoutMs?: number
  /** Called when every byte has arrived and no side has ended yet; awaited. */
  onsent?: (() => void | Promise<unknown>) | undefined
}

/** Sends seeded bytes both ways at once, ends both sides and waits for both closes. */
export async function exchange(
  link: Pick<Link, 'a' | 'b'>,
  bytes: { a: number; b: number },
  options: ExchangeOptions = {}
): Promise<Exchange> {
  const { seed = 1, timeoutMs = 50_000, onsent } = options
  const end = onsent === undefined
  const closes = [link.a.closed(timeoutMs), link.b.closed(timeoutMs)] as const
  const [sentByA, sentByB] = await Promise.all([
    link.a.write({ bytes: bytes.a, seed, end }),
    link.b.write({ bytes: bytes.b, seed: seed + 1, end })
  ])
  if (onsent) {
    const arrived = [
      link.a.wait({ bytes: bytes.b }, timeoutMs),
      link.b.wait({ bytes: bytes.a }, timeoutMs)
    ]
    await Promise.race([Promise.all(arrived), Promise.all(closes)])
    await onsent()
    await Promise.all([link.a.end(), link.b.end()])
  }
  const [a, b] = await Promise.all(closes)
  return { a, b, sentByA, sentByB }
}

/** What a clean exchange looks like, to compare with toEqual. */
export function outcome(result: Exchange): object {
  const { a, b, sentByA, sentByB } = result
  return {
    aReceived: { bytes: a.bytes, sha256: a.sha256 },
    bReceived: { bytes: b.bytes, sha256: b.sha256 },
    errors: [a.error, b.error],
    ended: [a, b].map(({ events }) =>
      ['end', 'finish', 'close'].map((name) => count(events, name))
    ),
    sent: [sentByA.bytes, sentByB.bytes]
  }
}

/** The outcome that every byte arrived and both sides closed cleanly. */
export function cleanOutcome(result: Exchange, bytes: { a: number; b: number }): object {
  const { sentByA, sentByB } = result
  return {
    aReceived: { bytes: bytes.b, sha256: sentByB.sha256 },
    bReceived: { bytes: bytes.a, sha256: sentByA.sha256 },
    errors: [null, null],
    ended: [
      [1, 1, 1],
      [1, 1, 1]
    ],
    sent: [bytes.a, bytes.b]
  }
}

export function count(events: readonly string[], name: string): number {
  return events.filter((event) => event === name).length
}
