// The swarm of scripts/prove/chaos.ts: servers of the executable behind a proxy, two for each span,
// and the faults that are done to them. Knows no answers.
import { join } from 'node:path'
import DHT from 'hyperdht'
import { freshSeed, seededRandom, type Random } from '../../src/base/random.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import { LIES, type Lie } from '../../test/support/hostile/garbage-peer.ts'
import { LoopbackNet, realHost, seenHost, type NetQuality } from '../net/loopback-net.ts'
import { Program } from '../processes.ts'
import { ProgramSwarm, thirdsOf, type Served } from '../net/swarm-programs.ts'

export type FaultName = 'kill' | 'freeze' | 'restart' | 'cut' | 'cut in' | 'cut out' | 'room' | Lie
export const FAULTS: readonly FaultName[] = [
  ...(['kill', 'freeze', 'restart', 'cut', 'cut in', 'cut out', 'room'] as const),
  ...LIES
]

export interface ChaosOptions {
  petals: readonly string[]
  model: string
  blocks: number
  random: Random
  quality: NetQuality
  /** PETALS_CPU of the servers, in turn. Default: the best there is. */
  cpus?: readonly string[]
}

export interface Server extends Served {
  readonly host: string
  /** First digits of its key. */
  readonly peer: string
}

const BOOTSTRAP = 1
const FIRST_SERVER = 10
const GARBAGE = 100
const HOGS = 240
const MOST_HOGS = 8
/** No session is longer than the model's context. */
const LONGEST_TOKENS = 8192
const COPIES = ['a', 'b']
const GARBAGE_SCRIPT = join(
  import.meta.dir,
  '..',
  '..',
  'test',
  'support',
  'hostile',
  'garbage-peer.ts'
)

export class ChaosSwarm implements AsyncDisposable {
  readonly net: LoopbackNet
  readonly swarm: ProgramSwarm
  readonly servers: Server[] = []
  readonly spans: readonly string[]
  readonly #options: ChaosOptions
  #bootstrap: DHT | undefined
  #contentId = ''
  #garbage = GARBAGE
  #restarting: Promise<void> | undefined

  constructor(options: ChaosOptions) {
    this.#options = options
    this.net = new LoopbackNet(options.random, options.quality)
    this.swarm = new ProgramSwarm(options.petals)
    this.spans = thirdsOf(options.blocks)
  }

  async start(): Promise<void> {
    const host = realHost(BOOTSTRAP)
    // Not from the seed: servers left behind by an earlier run must not find this swarm.
    const port = 42_000 + seededRandom(freshSeed()).below(10_000)
    await this.net.admit(host, port)
    // The executable announces the address it listens on; this one must announce the proxy's.
    this.#bootstrap = DHT.bootstrapper(port, seenHost(BOOTSTRAP), {
      host,
      bootstrap: [],
      anyPort: false,
      port: [port, port + 1]
    })
    await this.#bootstrap.fullyBootstrapped()
    this.swarm.address = `${seenHost(BOOTSTRAP)}:${port}`
    for (const [c, copy] of COPIES.entries()) {
      for (const [s, span] of this.spans.entries()) {
        this.servers.push(
          await this.#join(span, `${copy}-${span}`, FIRST_SERVER + c * this.spans.length + s)
        )
      }
    }
    this.#contentId = (await this.#status()).contentId
  }

  /** Which server of a span is among these, by the first digits of keys. */
  among(peers: readonly string[], third: number): Server | undefined {
    const span = this.spans[third]
    return this.servers.find(({ peer, blocks }) => blocks === span && peers.includes(peer))
  }

  /** Does a fault to a server; the returned function undoes it. */
  async hurt(name: FaultName, server: Server): Promise<() => Promise<void>> {
    switch (name) {
      case 'kill':
        server.program.signal('SIGKILL')
        return () => this.#restart(server)
      case 'restart':
        server.program.signal('SIGKILL')
        await server.program.end(5_000)
        void this.#restart(server)
        return async () => void (await this.#restarting)
      case 'freeze':
        server.program.signal('SIGSTOP')
        return async () => server.program.signal('SIGCONT')
      case 'cut':
      case 'cut in':
      case 'cut out':
        this.net.cut(server.host, name === 'cut' ? 'both' : name === 'cut in' ? 'in' : 'out')
        return async () => this.net.heal(server.host)
      case 'room':
        return this.#hog(server)
      default: {
        // The garbage server claims to be the fastest: it is next when the one in use is gone.
        const liar = await this.#startGarbage(name, server.blocks)
        server.program.signal('SIGKILL')
        return async () => {
          await liar[Symbol.asyncDispose]()
          await this.#restart(server)
        }
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.swarm[Symbol.asyncDispose]()
    await this.#bootstrap?.destroy({ force: true })
    await this.net[Symbol.asyncDispose]()
  }

  async #join(span: string, name: string, number: number): Promise<Server> {
    const host = realHost(number)
    const args = ['--threads', '1', '--host', host, '--memory', '1g']
    const { model, cpus = [] } = this.#options
    const cpu = cpus[number % cpus.length]
    const within = cpu === undefined ? undefined : ['env', `PETALS_CPU=${cpu}`]
    const served = await this.swarm.join(model, span, args, name, within)
    const peer = / as ([0-9a-f]{8})/.exec(served.program.stderr)?.[1] ?? ''
    return { ...served, host, peer }
  }

  #restart(server: Server): Promise<void> {
    const number = Number(server.host.split('.').at(-1))
    this.#restarting = this.swarm.stop(server).then(async () => {
      this.servers[this.servers.indexOf(server)] = await this.#join(
        server.blocks,
        server.name,
        number
      )
    })
    return this.#restarting
  }

  async #status(): Promise<{ contentId: string; servers: { peer: string }[] }> {
    const { stdout } = await this.swarm.run(['status', this.#options.model, '--json'])
    return JSON.parse(stdout) as { contentId: string; servers: { peer: string }[] }
  }

  async #startGarbage(lie: string, span: string): Promise<Program> {
    const { address } = this.swarm
    const host = realHost(this.#garbage++)
    const args = [address, host, this.#contentId, String(this.#options.blocks), span, lie]
    const program = new Program([process.execPath, GARBAGE_SCRIPT, ...args])
    await program.match('stdout', /^[0-9a-f]{64}$/m, 20_000)
    return program
  }

  /**
   * Takes all the tokens that a server can promise, with sessions that are opened and never used.
   */
  async #hog(server: Server): Promise<() => Promise<void>> {
    const [host = '', port] = this.swarm.address.split(':')
    const opened = new Map<string, PromiseWithResolvers<number>>()
    const settle = (session: Uint8Array, free: number): void =>
      opened.get(Buffer.from(session).toString('hex'))?.resolve(free)
    const nodes: SwarmNode[] = []
    const target = (await this.#status()).servers.find(({ peer }) => peer.startsWith(server.peer))
    const [start = 0, end = 0] = server.blocks.split(':').map(Number)
    const model = new Uint8Array(Buffer.from(this.#contentId, 'hex'))
    let free = LONGEST_TOKENS
    // Several peers, since one alone gets only its share.
    while (free > 0 && nodes.length < MOST_HOGS) {
      const node = new SwarmNode({
        bootstrap: [{ host, port: Number(port) }],
        host: realHost(HOGS + nodes.length),
        identity: createIdentity()
      })
      node.handle({
        onopened: (_, { session, status }) => settle(session, status.freeTokens),
        onerror: (_, { session, status }) => settle(session, status.freeTokens)
      })
      nodes.push(node)
      await node.ready()
      const key = new Uint8Array(Buffer.from(target?.peer ?? '', 'hex'))
      const link = await node.connect(key, { timeoutMs: 10_000 })
      for (let before = Infinity; free > 0 && free < before;) {
        before = nodes.length > 1 || opened.size > 0 ? free : Infinity
        const session = crypto.getRandomValues(new Uint8Array(16))
        const answer = Promise.withResolvers<number>()
        opened.set(Buffer.from(session).toString('hex'), answer)
        link.open({ session, model, start, end, maxTokens: Math.min(LONGEST_TOKENS, free) })
        free = await answer.promise
      }
    }
    return async () => void (await Promise.all(nodes.map((node) => node.close())))
  }
}
