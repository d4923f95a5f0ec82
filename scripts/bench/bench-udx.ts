// bun scripts/bench/bench-udx.ts [--mb 256] [--rounds 5] [--cross]
// Measures src/udx under Bun beside the real udx-native under node, the same work in the same run,
// two processes each on loopback, rounds interleaved, medians: one-way bulk over a hyperdht
// connection and over a plain UDX stream, and ping-pong of 2.3 KB messages. Needs sh
// scripts/net/node-reference.sh once.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'

type Runtime = 'bun' | 'node'
type Kind = 'dht' | 'raw'

interface Process {
  ask<T>(request?: object): Promise<T>
  kill(): void
}

interface Pair {
  name: string
  server: Process
  client: Process
}

interface Bulk {
  ms: number
  retransmits: number
  mtu: number
  cpuMs: number
}

interface BulkRow {
  megabytesPerSecond: number
  /** Milliseconds of CPU a megabyte, which other load on the machine moves less than the speed. */
  senderCpu: number
  receiverCpu: number
  retransmits: number
  mtu: number
}

const ROOT = join(import.meta.dir, '..', '..')
const PEER = join(import.meta.dir, 'parts', 'udx-bench-peer.cjs')
const MESSAGES = 10_000
const MESSAGE_BYTES = 2300

async function start(runtime: Runtime, argument?: object): Promise<[Process, unknown]> {
  const program = runtime === 'bun' ? process.execPath : 'node'
  const child = Bun.spawn([program, PEER, ...(argument ? [JSON.stringify(argument)] : [])], {
    cwd: ROOT,
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit'
  })
  const lines = linesOf(child.stdout)
  const read = async <T>(): Promise<T> => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`The ${runtime} process ended`)
    const answer = JSON.parse(value) as T & { error?: string }
    if (answer.error) throw new Error(`${runtime}: ${answer.error}`)
    return answer
  }
  const ask = <T>(request: object = {}): Promise<T> => {
    child.stdin.write(`${JSON.stringify(request)}\n`)
    child.stdin.flush()
    return read<T>()
  }
  return [{ ask, kill: () => child.kill() }, await read()]
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  return undefined
}

async function openPair(from: Runtime, to: Runtime): Promise<Pair> {
  const [server, address] = await start(to)
  const [client] = await start(from, address as object)
  return { name: `${from} to ${to}`, server, client }
}

async function bulk({ client, server }: Pair, kind: Kind, bytes: number): Promise<BulkRow> {
  const [clientBefore, serverBefore] = [
    await client.ask<Bulk>({ kind, bytes: 1 << 20 }),
    await server.ask<{ cpuMs: number }>()
  ]
  const result = await client.ask<Bulk>({ kind, bytes })
  const after = await server.ask<{ cpuMs: number }>()
  return {
    megabytesPerSecond: bytes / 1e6 / (result.ms / 1000),
    senderCpu: (result.cpuMs - clientBefore.cpuMs) / (bytes / 1e6),
    receiverCpu: (after.cpuMs - serverBefore.cpuMs) / (bytes / 1e6),
    retransmits: result.retransmits,
    mtu: result.mtu
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2
    ? (sorted[middle] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}

async function benchBulk(pairs: Pair[], kind: Kind, bytes: number, rounds: number): Promise<void> {
  const rows = new Map<string, BulkRow[]>(pairs.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const pair of pairs) rows.get(pair.name)?.push(await bulk(pair, kind, bytes))
  }
  const what = kind === 'dht' ? 'a hyperdht connection (Noise)' : 'a plain UDX stream'
  console.log(`\n${bytes / 1e6} MB one way over ${what}, median of ${rounds}`)
  const speeds = new Map<string, number>()
  for (const [name, list] of rows) {
    const of = (field: keyof BulkRow): number[] => list.map((row) => row[field])
    const speed = median(of('megabytesPerSecond'))
    speeds.set(name, speed)
    const spread = `${Math.min(...of('megabytesPerSecond')).toFixed(1)} to ${Math.max(...of('megabytesPerSecond')).toFixed(1)}`
    const cpu = `CPU ms a MB ${median(of('senderCpu')).toFixed(1)} + ${median(of('receiverCpu')).toFixed(1)}`
    const wire = `resent ${median(of('retransmits'))}, MTU ${median(of('mtu'))}`
    console.log(`  ${name.padEnd(13)} ${speed.toFixed(1)} MB/s (${spread}), ${cpu}, ${wire}`)
  }
  ratio(speeds, (value) => value)
}

async function benchPing(pairs: Pair[], rounds: number): Promise<void> {
  const times = new Map<string, { p50: number[]; p99: number[] }>()
  for (const { name } of pairs) times.set(name, { p50: [], p99: [] })
  for (let round = 0; round < rounds; round++) {
    for (const { name, client } of pairs) {
      const request = { kind: 'dht', messages: MESSAGES, messageBytes: MESSAGE_BYTES }
      const outcome = await client.ask<{ times: number[] }>(request)
      times.get(name)?.p50.push(percentile(outcome.times, 0.5))
      times.get(name)?.p99.push(percentile(outcome.times, 0.99))
    }
  }
  console.log(
    `\nping-pong of ${MESSAGE_BYTES} bytes over a hyperdht connection, ${MESSAGES} messages, median of ${rounds}`
  )
  const halves = new Map<string, number>()
  for (const [name, { p50, p99 }] of times) {
    halves.set(name, median(p50))
    const [half, late] = [median(p50) * 1000, median(p99) * 1000]
    console.log(`  ${name.padEnd(13)} p50 ${half.toFixed(0)} us, p99 ${late.toFixed(0)} us`)
  }
  ratio(halves, (value) => 1 / value)
}

/** Above 1.0 Bun is the better one. */
function ratio(values: Map<string, number>, merit: (value: number) => number): void {
  const [bun, node] = [values.get('bun to bun'), values.get('node to node')]
  if (bun && node) console.log(`  ratio Bun : node ${(merit(bun) / merit(node)).toFixed(2)}`)
}

async function main(): Promise<void> {
  const { values } = scriptArguments(import.meta.path, {
    options: {
      mb: { type: 'string', default: '256' },
      rounds: { type: 'string', default: '5' },
      cross: { type: 'boolean', default: false }
    }
  })
  if (!existsSync(join(ROOT, '.cache/node-ref/installed'))) {
    throw new Error('The reference is not installed: run sh scripts/net/node-reference.sh')
  }
  const [bytes, rounds] = [Number(values.mb) * 1e6, Number(values.rounds)]
  const pairs = [await openPair('bun', 'bun'), await openPair('node', 'node')]
  if (values.cross) pairs.push(await openPair('bun', 'node'), await openPair('node', 'bun'))
  try {
    const cpus = navigator.hardwareConcurrency
    console.log(
      `Bun ${Bun.version} on src/udx, ${await nodeVersion()} on udx-native 1.21.3, ${cpus} CPUs`
    )
    await benchBulk(pairs, 'dht', bytes, rounds)
    await benchBulk(pairs, 'raw', bytes, rounds)
    await benchPing(pairs, rounds)
  } finally {
    for (const { server, client } of pairs) {
      client.kill()
      server.kill()
    }
  }
}

async function nodeVersion(): Promise<string> {
  return `node ${(await Bun.$`node --version`.text()).trim()}`
}

await main()
