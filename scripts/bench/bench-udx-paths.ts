// bun scripts/bench/bench-udx-paths.ts [--runs 5] [--only "5 %"]
// One-way bulk over a plain UDX stream through bad paths (delay, loss, jitter, overtaking by the
// seeded proxy of test/udx): src/udx under Bun beside the real udx-native under node, same paths,
// same seeds, same run, medians and ratios. Needs sh scripts/net/node-reference.sh once.
import { scriptArguments } from '../arguments.ts'
import { exchange, openLink } from '../../test/udx/link.ts'
import { type Peer, type Runtime, startPeer } from '../../test/udx/peer.ts'
import type { Impairment } from '../../test/udx/proxy.ts'

interface Path {
  name: string
  bytes: number
  spoil: Impairment
}

interface Run {
  megabytesPerSecond: number
  resent: number
  timeouts: number
}

const MIB = 1 << 20
const LIMIT_MS = 120_000

const PATHS: readonly Path[] = [
  { name: '1 % loss', bytes: 4 * MIB, spoil: { drop: 0.01 } },
  { name: '20 % loss', bytes: MIB / 2, spoil: { drop: 0.2 } },
  { name: '30 % overtaken', bytes: 4 * MIB, spoil: { reorder: 0.3 } },
  { name: '10 ms', bytes: 8 * MIB, spoil: { delayMs: 10 } },
  { name: '10 ms, 1 % loss', bytes: 8 * MIB, spoil: { delayMs: 10, drop: 0.01 } },
  { name: '10 ms, 5 % loss', bytes: 2 * MIB, spoil: { delayMs: 10, drop: 0.05 } },
  { name: '10 ms, 20 % loss', bytes: MIB / 2, spoil: { delayMs: 10, drop: 0.2 } },
  { name: '50 ms, 1 % loss', bytes: 4 * MIB, spoil: { delayMs: 50, drop: 0.01 } },
  { name: '10 to 20 ms jitter', bytes: 2 * MIB, spoil: { delayMs: 10, jitterMs: 10 } }
]

async function transfer(pair: [Peer, Peer], path: Path, seed: number): Promise<Run> {
  const { bytes, spoil } = path
  await using link = await openLink(...pair, { proxy: { seed, up: spoil, down: spoil } })
  const from = performance.now()
  let arrivedMs = 0
  // The end is sent over a good path: how a lost last acknowledgement is handled is not measured
  // here.
  const onsent = (): void => {
    arrivedMs = performance.now() - from
    link.proxy?.impair({})
  }
  const { a } = await exchange(link, { a: bytes, b: 0 }, { seed, timeoutMs: LIMIT_MS, onsent })
  const { retransmits, rtoCount } = a.transport
  return { megabytesPerSecond: bytes / 1e3 / arrivedMs, resent: retransmits, timeouts: rtoCount }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
}

function describeRuns(runs: readonly Run[]): string {
  const of = (field: keyof Run): number => median(runs.map((run) => run[field]))
  const speed = of('megabytesPerSecond').toFixed(2).padStart(6)
  return `${speed} MB/s (resent ${of('resent')}, timeouts ${of('timeouts')})`
}

async function main(): Promise<void> {
  const { values } = scriptArguments(import.meta.path, {
    options: { runs: { type: 'string', default: '5' }, only: { type: 'string', default: '' } }
  })
  const runtimes: Runtime[] = ['bun', 'node']
  const peers = await Promise.all([...runtimes, ...runtimes].map((runtime) => startPeer(runtime)))
  const [bun, node, bunToo, nodeToo] = peers
  if (!bun || !node || !bunToo || !nodeToo) throw new Error('Not every peer started')
  try {
    for (const path of PATHS.filter(({ name }) => name.includes(values.only))) {
      const runs: Record<Runtime, Run[]> = { bun: [], node: [] }
      for (let seed = 0; seed < Number(values.runs); seed++) {
        runs.bun.push(await transfer([bun, bunToo], path, seed))
        runs.node.push(await transfer([node, nodeToo], path, seed))
      }
      const [ours, theirs] = [runs.bun, runs.node].map((list) =>
        median(list.map(({ megabytesPerSecond }) => megabytesPerSecond))
      )
      const ratio = ((ours ?? 0) / (theirs || 1)).toFixed(2)
      console.log(`${path.name.padEnd(19)} ratio Bun : node ${ratio}`)
      console.log(`  bun  ${describeRuns(runs.bun)}\n  node ${describeRuns(runs.node)}`)
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.close()))
  }
}

await main()
