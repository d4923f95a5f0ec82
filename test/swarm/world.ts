// A swarm in this process: bootstrap nodes of its own on loopback, and peers that close with the
// test.
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { startBootstrap, type Bootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import type { SwarmNodeOptions } from '../../src/swarm/node-options.ts'
import type { LinkHandlers } from '../../src/wire/link.ts'
import type { ServerInfo } from '../../src/wire/types.ts'

export const MODEL: Uint8Array = new Uint8Array(32).fill(7)
export const BLOCKS = 30
/** Longer than anything takes on a busy machine: a search ends by itself. */
export const AMPLE: { timeoutMs: number } = { timeoutMs: 30_000 }

export function infoOf(start: number, end: number, more: Partial<ServerInfo> = {}): ServerInfo {
  return {
    peer: new Uint8Array(32),
    model: MODEL,
    modelName: 'test',
    blockCount: BLOCKS,
    hiddenSize: 64,
    start,
    end,
    quant: 'f32',
    throughput: 100,
    prefillThroughput: 0,
    maxTokens: 2048,
    freeTokens: 4096,
    version: '0.0.0',
    draining: false,
    issuedAt: 0,
    expiresAt: 0,
    pings: [],
    ...more
  }
}

export interface NodeOptions extends Partial<SwarmNodeOptions> {
  /** For whatever arrives over its links. */
  handlers?: LinkHandlers
}

export class World implements AsyncDisposable {
  readonly bootstrap: Bootstrap
  readonly #nodes: SwarmNode[] = []

  private constructor(bootstrap: Bootstrap) {
    this.bootstrap = bootstrap
  }

  static async start(nodes?: number): Promise<World> {
    return new World(await startBootstrap({ port: 0, ...(nodes === undefined ? {} : { nodes }) }))
  }

  get address(): { host: string; port: number }[] {
    return [{ host: this.bootstrap.host, port: this.bootstrap.port }]
  }

  /** A peer that is ready. */
  async node(options: NodeOptions = {}): Promise<SwarmNode> {
    const node = this.make(options)
    await node.ready()
    return node
  }

  /** A peer that has not joined. */
  make({ handlers, ...options }: NodeOptions = {}): SwarmNode {
    const node = new SwarmNode({
      bootstrap: this.address,
      identity: createIdentity(),
      random: seededRandom(this.#nodes.length),
      log: silentLog,
      ...options
    })
    this.#nodes.push(node)
    if (handlers) node.handle(handlers)
    return node
  }

  /** A peer that serves blocks. */
  async server(start: number, end: number, options: NodeOptions = {}): Promise<SwarmNode> {
    const node = await this.node(options)
    await node.serve(infoOf(start, end))
    return node
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.close()))
    await this.bootstrap.close()
  }
}

/** Waits until a condition holds, a turn of the event loop at a time. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve))
}
