// DHT nodes of one's own, so that a swarm needs no public ones: others start from the first, all
// keep announcements and records. Knows no models and no petals protocol.
import { createSocket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import DHT from 'hyperdht'
import { AppError, badInput, inUse, unavailable } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { Resource } from '../../base/resource.ts'

export interface BootstrapOptions {
  /** The IPv4 address under which others reach it; 0.0.0.0: this machine's. Default 127.0.0.1. */
  host?: string
  /** UDP port; the next three are taken too where they are free; 0: any. Default 49737. */
  port?: number
  /** How many nodes. Default 4: a peer needs that many to learn what its NAT does. */
  nodes?: number
  /** Nodes of the DHT that it becomes part of. Default none: it begins one. */
  start?: readonly { readonly host: string; readonly port: number }[]
  log?: Log
}

export interface Bootstrap extends Resource {
  readonly host: string
  readonly port: number
  /** Whether one of the nodes to start from has answered; true when there were none. */
  readonly joined: boolean
  /** Makes itself known to nodes of a DHT that may be another one: they are one then. */
  meet(nodes: readonly { readonly host: string; readonly port: number }[]): Promise<void>
}

const DEFAULT_PORT = 49_737
const DEFAULT_NODES = 4
const PORT_TRIES = 20

class OwnBootstrap extends Resource implements Bootstrap {
  readonly host: string
  readonly port: number
  readonly joined: boolean
  readonly #nodes: readonly DHT[]

  constructor(host: string, port: number, nodes: readonly DHT[], joined: boolean) {
    super()
    this.host = host
    this.port = port
    this.joined = joined
    this.#nodes = nodes
  }

  async meet(nodes: readonly { readonly host: string; readonly port: number }[]): Promise<void> {
    const pings = nodes.flatMap((node) => this.#nodes.map((own) => own.ping(node)))
    await Promise.allSettled(pings)
    for (const own of this.#nodes) own.refresh()
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    for (const node of this.#nodes.toReversed()) await node.destroy({ force: true })
  }
}

/**
 * Starts the nodes; resolves when others can begin from them.
 * @throws AppError IN_USE or BAD_INPUT
 */
export async function startBootstrap(options: BootstrapOptions = {}): Promise<Bootstrap> {
  const {
    port = DEFAULT_PORT,
    nodes: count = DEFAULT_NODES,
    log = silentLog,
    start: others = []
  } = options
  const host = reachableHost(options.host ?? '127.0.0.1')
  const nodes: DHT[] = []
  try {
    const first = await startFirst(host, port, others)
    nodes.push(first.node)
    // Before those of our own know it too.
    const joined = others.length === 0 || first.node.nodes.length > 0
    const start = [{ host, port: first.port }]
    for (let i = 1; i < count; i++) {
      // Neighbouring ports are easier to open in a firewall; any will do on an open machine.
      const near = first.port + i
      const own = near < 65_536 && (await isFree(near, host)) ? near : await freePort(host)
      const node = await startNode(host, own, start)
      nodes.push(node)
      log.debug(`bootstrap node at ${host}:${own}`)
    }
    const bootstrap = new OwnBootstrap(host, first.port, nodes, joined)
    await bootstrap.ready()
    return bootstrap
  } catch (error) {
    for (const node of nodes) await node.destroy({ force: true })
    throw error
  }
}

async function startFirst(
  host: string,
  port: number,
  others: readonly { readonly host: string; readonly port: number }[]
): Promise<{ node: DHT; port: number }> {
  if (port !== 0) return { node: await startNode(host, port, others), port }
  for (let tries = 1; ; tries++) {
    const own = await freePort(host)
    try {
      return { node: await startNode(host, own, others), port: own }
    } catch (error) {
      // Somebody else can take a free port before we do.
      if (!(error instanceof AppError) || error.code !== 'IN_USE' || tries >= PORT_TRIES)
        throw error
    }
  }
}

async function startNode(
  host: string,
  port: number,
  bootstrap: readonly { host: string; port: number }[]
): Promise<DHT> {
  const node = DHT.bootstrapper(port, host, {
    host: bindHost(host),
    bootstrap,
    anyPort: false,
    port: [port, port + 1]
  })
  try {
    await node.fullyBootstrapped()
    return node
  } catch (cause) {
    await node.destroy({ force: true }).catch(() => {})
    throw inUse(`The bootstrap node cannot be started: UDP port ${port} is in use`, {
      hint: 'Stop what uses it, or choose another with --port',
      cause
    })
  }
}

/** Loopback stays loopback; else every interface, because the address may be a router's. */
function bindHost(host: string): string {
  return host.startsWith('127.') ? host : '0.0.0.0'
}

function reachableHost(host: string): string {
  if (host === 'localhost') return '127.0.0.1'
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(host) || host.split('.').some((part) => Number(part) > 255)) {
    throw badInput(`The bootstrap node cannot be started: '${host}' is no IPv4 address`, {
      hint: 'Give the address at which others reach this machine, or 0.0.0.0'
    })
  }
  if (host !== '0.0.0.0') return host
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, internal, address } of addresses ?? []) {
      if (family === 'IPv4' && !internal) return address
    }
  }
  throw unavailable(
    'The bootstrap node cannot be started: this machine has no address but loopback'
  )
}

async function freePort(host: string): Promise<number> {
  return (await tryBind(0, host)) ?? 0
}

async function isFree(port: number, host: string): Promise<boolean> {
  return (await tryBind(port, host)) !== undefined
}

function tryBind(port: number, host: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4')
    socket.once('error', () => {
      socket.close()
      resolve(undefined)
    })
    socket.bind(port, bindHost(host), () => {
      const bound = socket.address().port
      socket.close(() => resolve(bound))
    })
  })
}
