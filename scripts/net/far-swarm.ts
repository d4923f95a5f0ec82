// A swarm of programs of which every two are a round trip apart: on loopback, or each in a network
// namespace of its own behind slow wires. For bench-push.ts, bench-speculation.ts and
// bench-tune-swarm.ts; measures no answers.
import { join } from 'node:path'
import { Program } from '../processes.ts'
import { forgetLimit, limitedTo } from './core-share.ts'
import { SlowNetwork } from './slow-network.ts'
import { partsOf, ProgramSwarm, type Served } from './swarm-programs.ts'

const ECHO = join(import.meta.dir, 'echo.ts')
const ECHO_PORT = '50099'
const ECHOES = '50'

export interface FarSwarmOptions {
  /** The executable with its first words. */
  petals: readonly string[]
  model: string
  blocks: number
  /** Servers, with equal parts of the blocks. */
  servers: number
  /** Of each server. */
  threads: string
  /** Of a core, for each server. Default 1: all of one. */
  share?: number
  /** Between any two; 0 is loopback, more needs Linux and root. */
  rttMs: number
}

export class FarSwarm implements AsyncDisposable {
  readonly swarm: ProgramSwarm
  readonly #options: FarSwarmOptions
  readonly #network: SlowNetwork<string> | undefined
  readonly #served: Served[] = []

  constructor(options: FarSwarmOptions) {
    this.#options = options
    const { petals, servers, rttMs } = options
    const sides = ['client', ...Array.from({ length: servers }, (_, i) => `server-${i}`)]
    if (rttMs > 0) this.#network = new SlowNetwork(rttMs / 2, sides)
    const host = this.#network?.address('client')
    const within = this.within('client')
    this.swarm = new ProgramSwarm(petals, host === undefined ? {} : { host, within })
  }

  /** Servers that run, in the order of their blocks. */
  get served(): readonly Served[] {
    return this.#served
  }

  /** Words before a command: at the client's, or at a server's. */
  within(side: 'client' | number): readonly string[] {
    return this.#network?.within(nameOf(side)) ?? []
  }

  address(side: 'client' | number): string {
    return this.#network?.address(nameOf(side)) ?? '127.0.0.1'
  }

  /** Starts the bootstrap node and the servers. */
  async start(): Promise<void> {
    const { model, blocks, servers, threads, share = 1 } = this.#options
    await this.swarm.bootstrap()
    for (const [i, span] of partsOf(blocks, servers).entries()) {
      const flags = ['--threads', threads]
      const within = [...limitedTo(share), ...this.within(i)]
      this.#served.push(await this.swarm.join(model, span, flags, `server-${i}`, within))
    }
  }

  /**
   * What a round trip from the client to a server takes without petals; the wires are not exact.
   */
  async roundTripMs(): Promise<number> {
    const [bun, host] = [process.execPath, this.address(0)]
    await using echo = new Program([...this.within(0), bun, ECHO, host, ECHO_PORT])
    await echo.match('stdout', /ready/, 10_000)
    const asked = [...this.within('client'), bun, ECHO, 'ask', host, ECHO_PORT, ECHOES]
    await using asking = new Program(asked)
    return Number((await asking.end(60_000)).stdout)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.swarm[Symbol.asyncDispose]()
    for (const { program } of this.#served) forgetLimit(program.pid)
    this.#network?.[Symbol.dispose]()
  }
}

function nameOf(side: 'client' | number): string {
  return side === 'client' ? side : `server-${side}`
}
