// bun scripts/net/nat.ts        (root on Linux, with iproute2 and iptables)
// Peers behind routers of their own, a bootstrap node on the open side: can they find and reach
// each other, a client also two servers at once? Real kernels' NAT in network namespaces;
// everything is taken down again.
//
//   server 10.1.0.2 - router 5.9.0.2 -+- 5.9.0.1 bootstrap
//   client 10.2.0.2 - router 5.9.0.3 -+
//   server 10.3.0.2 - router 5.9.0.4 -+
//
// 'consistent': a router keeps one port for a peer. 'random': another port for every destination.
import { scriptArguments } from '../arguments.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { find } from '../../src/swarm/directory.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import { startBootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { createRequire } from 'node:module'
import DHT from 'hyperdht'
import { toAppError } from '../../src/base/errors.ts'
import type { ServerInfo } from '../../src/wire/types.ts'

const PORT = 49_737
const BOOTSTRAP = '5.9.0.1'
const MODEL = new Uint8Array(32).fill(9)
const NAMES = ['pnet', 'pra', 'prb', 'prc', 'pa', 'pb', 'pc'] as const
type Nat = 'consistent' | 'random'
type Way = 'relay' | 'direct'
/** The servers' routers, the client's, whether there is a relay, and how many servers. */
const CASES: readonly (readonly [Nat, Nat, Way, number])[] = [
  ['consistent', 'consistent', 'direct', 1],
  ['random', 'consistent', 'direct', 1],
  ['consistent', 'random', 'direct', 1],
  ['random', 'consistent', 'direct', 2],
  ['consistent', 'random', 'direct', 2],
  ['random', 'random', 'direct', 1],
  ['random', 'random', 'relay', 1]
]
/** As a client opens the servers of a route: all at once, with no more time than that. */
const CONNECT_MS = 12_000
const RELAY = createIdentity(new Uint8Array(32).fill(4))

const INFO: ServerInfo = {
  peer: new Uint8Array(32),
  model: MODEL,
  modelName: 'nat',
  blockCount: 4,
  hiddenSize: 8,
  start: 0,
  end: 4,
  quant: 'f32',
  throughput: 1,
  prefillThroughput: 0,
  maxTokens: 1,
  freeTokens: 1,
  version: '0',
  draining: false,
  issuedAt: 0,
  expiresAt: 0,
  pings: []
}

/** Runs shell lines; throws on the first that fails. */
function shell(lines: string): void {
  const { exitCode, stderr } = Bun.spawnSync(['sh', '-ec', lines])
  if (exitCode !== 0) throw new Error(`A line failed: ${stderr.toString().trim()}`)
}

function takeDown(): void {
  for (const name of NAMES) Bun.spawnSync(['ip', 'netns', 'del', name])
}

function routerLines(router: string, host: string, side: number, nat: Nat): string {
  const random = nat === 'random' ? ' --random-fully' : ''
  return `
    ip netns add ${router}; ip netns add ${host}
    ip link add ${router}o netns ${router} type veth peer name ${router}p netns pnet
    ip link add ${host}o netns ${host} type veth peer name ${host}p netns ${router}
    ip -n pnet link set ${router}p master br0 up
    ip -n ${router} addr add 5.9.0.${side + 1}/24 dev ${router}o
    ip -n ${router} addr add 10.${side}.0.1/24 dev ${host}p
    ip -n ${host} addr add 10.${side}.0.2/24 dev ${host}o
    for each in lo ${router}o ${host}p; do ip -n ${router} link set $each up; done
    for each in lo ${host}o; do ip -n ${host} link set $each up; done
    ip -n ${host} route add default via 10.${side}.0.1
    ip netns exec ${router} sysctl -qw net.ipv4.ip_forward=1
    ip netns exec ${router} iptables -t nat -A POSTROUTING -o ${router}o -p udp -j MASQUERADE${random}
    ip netns exec ${router} iptables -A INPUT -i ${router}o -j DROP
    ip netns exec ${router} iptables -P FORWARD DROP
    ip netns exec ${router} iptables -A FORWARD -i ${host}p -j ACCEPT
    ip netns exec ${router} iptables -A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT
  `
}

function setUp(ofServer: Nat, ofClient: Nat): void {
  takeDown()
  shell(`
    ip netns add pnet
    ip -n pnet link add br0 type bridge
    ip -n pnet addr add ${BOOTSTRAP}/24 dev br0
    for each in lo br0; do ip -n pnet link set $each up; done
    ${routerLines('pra', 'pa', 1, ofServer)}
    ${routerLines('prb', 'pb', 2, ofClient)}
    ${routerLines('prc', 'pc', 3, ofServer)}
  `)
}

interface Child {
  readonly process: Bun.Subprocess<'ignore', 'pipe', 'inherit'>
  line(): Promise<string>
}

function start(namespace: string, role: string, way: Way, count: number): Child {
  const program = [process.execPath, import.meta.path, role, way, String(count)]
  const command = ['ip', 'netns', 'exec', namespace, ...program]
  const child = Bun.spawn(command, { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' })
  const lines = readLines(child.stdout)
  return {
    process: child,
    line: async () => (await lines.next()).value ?? 'it ended'
  }
}

async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of stream) {
    const parts = (rest + new TextDecoder().decode(chunk)).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}

async function runCase([ofServer, ofClient, way, count]: (typeof CASES)[number]): Promise<string> {
  setUp(ofServer, ofClient)
  const children: Child[] = []
  try {
    for (const [namespace, role] of [
      ['pnet', 'bootstrap'],
      ['pnet', 'relay'],
      ['pa', 'server'],
      ['pc', 'server'],
      ['pb', 'client']
    ] as const) {
      if (role === 'relay' && way === 'direct') continue
      if (namespace === 'pc' && count < 2) continue
      const child = start(namespace, role, way, count)
      children.push(child)
      const line = await child.line()
      if (role === 'client' || line !== 'ready') return line
    }
    return 'nothing'
  } finally {
    for (const child of children) child.process.kill('SIGKILL')
    takeDown()
  }
}

async function runRole(role: string, way: string, count: number): Promise<void> {
  const relayThrough = way === 'relay' ? RELAY.publicKey : null
  const bootstrap = [{ host: BOOTSTRAP, port: PORT }]
  if (role === 'bootstrap') {
    await startBootstrap({ host: BOOTSTRAP, port: PORT })
  } else if (role === 'relay') {
    await startRelay(bootstrap)
  } else if (role === 'server') {
    const identity = createIdentity()
    const node = new SwarmNode({ bootstrap, identity, relayThrough })
    await node.ready()
    await node.serve(INFO)
  } else {
    return runClient(bootstrap, relayThrough, count)
  }
  console.log('ready')
}

/** A blind relay: hyperdht's own, which our packages bring along. */
async function startRelay(bootstrap: { host: string; port: number }[]): Promise<void> {
  const ofHyperdht = createRequire(createRequire(import.meta.url).resolve('hyperdht'))
  const { Server } = ofHyperdht('blind-relay')
  const dht = new DHT({ bootstrap, firewalled: false, port: [0, 0] }) as unknown as RelayDht
  const relay = new Server({ createStream: (options: object) => dht.createRawStream(options) })
  const server = dht.createServer({}, (stream) => {
    stream.on('error', () => {})
    relay.accept(stream, { id: stream.remotePublicKey })
  })
  await server.listen(RELAY)
}

interface RelayDht {
  createRawStream(options: object): unknown
  createServer(
    options: object,
    onconnection: (stream: DHT.Connection) => void
  ): { listen(keyPair: DHT.KeyPair): Promise<void> }
}

async function runClient(
  bootstrap: { host: string; port: number }[],
  relayThrough: Uint8Array | null,
  count: number
): Promise<void> {
  const node = new SwarmNode({ bootstrap, identity: createIdentity(), relayThrough })
  await node.ready()
  const began = performance.now()
  const found = await find(node, MODEL, 4, { enough: ({ length }) => length === count })
  const foundMs = performance.now() - began
  if (found.length < count) return console.log(`${found.length} of ${count} servers were found`)
  const links = found.map(async ({ peer }) => {
    try {
      const link = await node.connect(peer, { timeoutMs: CONNECT_MS })
      const connectedMs = performance.now() - began - foundMs
      const pingMs = await link.ping(5000)
      return `linked in ${connectedMs.toFixed(1)} ms, ping ${pingMs.toFixed(1)} ms`
    } catch (error) {
      return `not linked: ${toAppError(error).message}`
    }
  })
  console.log(`found in ${foundMs.toFixed(1)} ms, ${(await Promise.all(links)).join('; ')}`)
}

const { positionals } = scriptArguments(import.meta.path, { allowPositionals: true })
const [role, roleWay = 'direct', roleCount = '1'] = positionals
if (role !== undefined) {
  await runRole(role, roleWay, Number(roleCount))
} else {
  for (const one of CASES) {
    const [ofServer, ofClient, way, count] = one
    const who = count === 1 ? 'server' : `${count} servers`
    console.log(`${who} ${ofServer}, client ${ofClient}, ${way}: ${await runCase(one)}`)
  }
}
