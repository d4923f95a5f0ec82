// A swarm in one process: real BlockServers over FakeCompute, joined by links that can be cut,
// frozen or made to lie, and that deliver in order but never at once.
import { toHex } from '../../../src/base/bytes.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { AppError, disconnected, timedOut } from '../../../src/base/errors.ts'
import type { ClientLink, Connections, SessionEvents } from '../../../src/client/route/links.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { InferenceSession, type SessionOptions } from '../../../src/client/session/session.ts'
import { BlockServer } from '../../../src/server/sessions/block-server.ts'
import type { ServerLink } from '../../../src/server/links.ts'
import { Liveness, type LivenessTimes } from '../../../src/wire/liveness.ts'
import type {
  ServerInfo,
  SessionOpened,
  Step,
  StepResult,
  WireError
} from '../../../src/wire/types.ts'
import { FakeCompute } from './fake-compute.ts'

export const MODEL: Uint8Array = new Uint8Array(32).fill(7)

export interface FakePeer {
  readonly key: Uint8Array
  readonly peer: string
  server: BlockServer
  readonly compute: FakeCompute
  info: ServerInfo
  /** Gone: every link breaks. */
  dead: boolean
  /** Takes everything, answers nothing and pushes nothing. */
  frozen: boolean
  /** Peers that it cannot push to. */
  unreachable: Set<string>
  /** What a ping of it takes. */
  pingMs: number
  /** Changes what it answers. */
  spoil: (result: StepResult) => StepResult
  /** Stands between it and the client: sends what it likes, or nothing. */
  tamper: ((said: Said, send: (said: Said) => void) => void) | undefined
  /** Stands between it and the server it pushes to. */
  onpush: ((step: Step, push: (step: Step) => void) => void) | undefined
}

/** What a server says to the client. */
export type Said =
  | { readonly kind: 'opened'; readonly message: SessionOpened }
  | { readonly kind: 'result'; readonly message: StepResult }
  | { readonly kind: 'error'; readonly message: WireError }

/** A session over a fake swarm, with times that a test need not wait for. */
export async function startSession(
  swarm: FakeSwarm,
  more: Partial<SessionOptions> = {}
): Promise<InferenceSession> {
  const session = new InferenceSession({
    connections: swarm,
    book: new PeerBook(),
    find: swarm.find,
    model: MODEL,
    blockCount: swarm.blockCount,
    hiddenSize: swarm.hiddenSize,
    maxTokens: 1024,
    contextLength: 4096,
    dtype: 'f32',
    silenceMs: 10_000,
    ...more
  })
  await session.ready()
  return session
}

export class FakeSwarm implements Connections {
  readonly hiddenSize: number
  readonly blockCount: number
  readonly peers: FakePeer[] = []
  /** Who connects next. */
  client: Uint8Array = new Uint8Array(32).fill(0xc1)
  /** How links watch servers that somebody waits for. */
  liveness: LivenessTimes = { everyMs: 5, leastMs: 20 }
  readonly #listeners = new Map<string, SessionEvents>()
  readonly #links = new Map<string, ClientLink & { owner: ServerLink }>()

  constructor(blockCount: number, hiddenSize: number) {
    this.blockCount = blockCount
    this.hiddenSize = hiddenSize
  }

  #made = 0

  async add(start: number, end: number, capacityTokens = 4096): Promise<FakePeer> {
    return this.#start(new Uint8Array(32).fill(++this.#made), start, end, capacityTokens)
  }

  async #start(
    key: Uint8Array,
    start: number,
    end: number,
    capacityTokens: number
  ): Promise<FakePeer> {
    const compute = new FakeCompute(this.hiddenSize)
    const server = await this.#serve({ key, compute }, [start, end], capacityTokens)
    const peer: FakePeer = {
      key,
      peer: toHex(key),
      server,
      compute,
      info: fakeInfo(key, start, end, this.blockCount, this.hiddenSize),
      dead: false,
      frozen: false,
      unreachable: new Set(),
      pingMs: 1,
      spoil: (result) => result,
      tamper: undefined,
      onpush: undefined
    }
    this.peers.push(peer)
    return peer
  }

  async #serve(
    { key, compute }: Pick<FakePeer, 'key' | 'compute'>,
    [first, last]: readonly [number, number],
    capacityTokens = 4096
  ): Promise<BlockServer> {
    const server = new BlockServer({
      compute,
      span: compute.span(first, last),
      model: MODEL,
      self: key,
      capacityTokens,
      reach: async (to) => this.#pushLink(key, to)
    })
    await server.ready()
    return server
  }

  /** Serves other blocks from now on, over the same links. */
  async move(peer: FakePeer, start: number, end: number): Promise<void> {
    const old = peer.server
    peer.server = await this.#serve(peer, [start, end])
    await old.dismiss(new AppError('BUSY', 'The server serves other blocks now'))
    await old.close()
    peer.info = { ...peer.info, start, end }
  }

  find = async (): Promise<readonly ServerInfo[]> => {
    return this.peers.filter((peer) => !peer.dead).map((peer) => peer.info)
  }

  /** The client's connections end, and it comes back as somebody else: a new process. */
  async reconnect(client: Uint8Array = new Uint8Array(32).fill(0xc2)): Promise<void> {
    const links = [...this.#links]
    this.#links.clear()
    this.client = client
    for (const [peer, link] of links) {
      for (const events of this.#listeners.values()) events.ondisconnect(link, goneAway())
      await this.peers.find((one) => one.peer === peer)?.server.disconnected(link.owner)
    }
  }

  /** Resolves when no server has a session open. */
  async idle(): Promise<void> {
    const open = (): boolean =>
      this.peers.some(({ server, dead }) => !dead && server.sessions.size > 0)
    while (open()) await new Promise((resolve) => setImmediate(resolve))
  }

  kill(peer: FakePeer): void {
    peer.dead = true
    const link = this.#links.get(peer.peer)
    this.#links.delete(peer.peer)
    if (link) for (const events of this.#listeners.values()) events.ondisconnect(link, goneAway())
  }

  /** Comes back empty, under the same key. */
  async restart(peer: FakePeer): Promise<FakePeer> {
    this.kill(peer)
    this.peers.splice(this.peers.indexOf(peer), 1)
    return this.#start(peer.key, peer.info.start, peer.info.end, 4096)
  }

  listen(session: Uint8Array, events: SessionEvents): () => void {
    this.#listeners.set(toHex(session), events)
    return () => void this.#listeners.delete(toHex(session))
  }

  async connect(peer: string): Promise<ClientLink> {
    const target = this.peers.find((one) => one.peer === peer)
    if (!target || target.dead) throw disconnected('The server cannot be reached')
    const known = this.#links.get(peer)
    if (known) return known
    const link = this.#link(target)
    this.#links.set(peer, link)
    return link
  }

  #link(target: FakePeer): ClientLink & { owner: ServerLink } {
    const to = (act: () => void): void => {
      queueMicrotask(() => {
        if (!target.dead) act()
      })
    }
    const back = (session: Uint8Array, act: (events: SessionEvents) => void): void => {
      setImmediate(() => {
        const events = this.#listeners.get(toHex(session))
        if (!events || target.dead || target.frozen) return
        heard++
        act(events)
      })
    }
    const send = ({ kind, message }: Said): void =>
      back(message.session, (events) => {
        if (kind === 'opened') events.onopened(link, message)
        else if (kind === 'result') events.onresult(link, message)
        else events.onerror(link, message)
      })
    const say = (said: Said): void => {
      if (target.tamper) target.tamper(said, send)
      else send(said)
    }
    let heard = 0
    const liveness = new Liveness({
      ...this.liveness,
      clock: systemClock,
      send: (nonce) =>
        setTimeout(() => {
          if (!target.dead && !target.frozen) liveness.pong(nonce)
        }, 1),
      sentBytes: () => 0,
      heardBytes: () => heard,
      onsilent: (error) => {
        if (this.#links.get(target.peer) === link) this.#links.delete(target.peer)
        closed = true
        for (const events of this.#listeners.values()) events.ondisconnect(link, error)
      }
    })
    let closed = false
    const owner: ServerLink = {
      peer: toHex(this.client),
      opened: (message) => say({ kind: 'opened', message }),
      result: (message) => say({ kind: 'result', message: target.spoil(message) }),
      error: (message) => say({ kind: 'error', message }),
      step: () => {}
    }
    const link = {
      owner,
      peer: target.peer,
      key: target.key,
      get closed() {
        return target.dead || closed
      },
      get servers() {
        return [target.info]
      },
      open: (message: Parameters<ClientLink['open']>[0]) =>
        to(() => void target.server.open(owner, message)),
      step: (message: Parameters<ClientLink['step']>[0]) => {
        const copy = {
          ...message,
          tensor: { ...message.tensor, data: message.tensor.data.slice() }
        }
        to(() => target.server.step(owner, copy))
      },
      cancel: (message: Parameters<ClientLink['cancel']>[0]) =>
        to(() => target.server.cancel(owner, message)),
      keep: (message: Parameters<ClientLink['keep']>[0]) =>
        to(() => target.server.keep(owner, message)),
      closeSession: (message: Parameters<ClientLink['closeSession']>[0]) =>
        to(() => void target.server.closeSession(owner, message)),
      ping: async (timeoutMs: number): Promise<number> => {
        if (target.dead) throw disconnected('The server went away')
        if (target.frozen) throw timedOut(`No answer in ${timeoutMs} ms`)
        return target.pingMs
      },
      awaited: () => liveness.awaited()
    }
    return link
  }

  #pushLink(from: Uint8Array, to: Uint8Array): ServerLink {
    const target = this.peers.find((one) => one.peer === toHex(to))
    const source = this.peers.find((one) => one.peer === toHex(from))
    if (!target || target.dead || source?.unreachable.has(toHex(to))) {
      throw disconnected('The server cannot be reached')
    }
    const pusher: ServerLink = {
      peer: toHex(from),
      opened: () => {},
      result: () => {},
      step: () => {},
      error: (message: WireError) => {
        const error = disconnected(message.message)
        const coded = Object.assign(error, { code: message.code })
        source?.server.pushRefused(message.session, message.step, coded)
      }
    }
    return {
      peer: target.peer,
      opened: () => {},
      result: () => {},
      error: () => {},
      step: (message) => {
        const push = (step: Step): void =>
          queueMicrotask(() => {
            if (!target.dead && !source?.frozen) target.server.step(pusher, step)
          })
        if (source?.onpush) source.onpush(message, push)
        else push(message)
      }
    }
  }
}

function goneAway(): AppError {
  return disconnected('The server went away')
}

export function fakeInfo(
  peer: Uint8Array,
  start: number,
  end: number,
  blockCount: number,
  hiddenSize: number
): ServerInfo {
  return {
    peer,
    model: MODEL,
    modelName: 'fake',
    blockCount,
    hiddenSize,
    start,
    end,
    quant: 'f32',
    throughput: 100,
    prefillThroughput: 1000,
    maxTokens: 4096,
    freeTokens: 4096,
    version: 'test',
    draining: false,
    issuedAt: 0,
    expiresAt: Number.MAX_SAFE_INTEGER,
    pings: []
  }
}
