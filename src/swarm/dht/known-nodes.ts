// DHT nodes that were heard from, kept so that the swarm is found again when the node that it began
// with is gone; and which of some addresses answer now. Knows no peers and no models.
import DHT from 'hyperdht'
import { isIPv4 } from 'node:net'
import { crypto_generichash } from 'sodium-universal'
import { deadline, sleep, type Clock } from '../../base/clock.ts'
import type { Address } from './address.ts'

export interface KnownNode extends Address {
  /** Wall clock, ms. */
  readonly seenAt: number
}

/** Nodes kept: enough that some live, few enough to be asked at once. */
export const MAX_KNOWN = 32
/** Ordinary machines get other addresses by then. */
const MAX_AGE_MS = 30 * 86_400_000
const PING_MS = 1_500
/** After the first answer, how long others may take. */
const GRACE_MS = 250

/** What was kept and what is heard from now, the latest first. */
export function mergeKnown(
  known: readonly KnownNode[],
  heard: readonly Address[],
  now: number
): readonly KnownNode[] {
  const byName = new Map<string, KnownNode>()
  const fresh = heard.map(({ host, port }) => ({ host, port, seenAt: now }))
  for (const node of [...fresh, ...known]) {
    const name = `${node.host}:${node.port}`
    const age = now - node.seenAt
    // A clock that was set back makes nodes of the future: they were seen some time.
    if (age <= MAX_AGE_MS && !byName.has(name)) byName.set(name, node)
  }
  return [...byName.values()].sort((a, b) => b.seenAt - a.seenAt).slice(0, MAX_KNOWN)
}

export function formatKnown(nodes: readonly KnownNode[]): string {
  return nodes.map(({ host, port, seenAt }) => `${host}:${port} ${seenAt}\n`).join('')
}

/** Lines that cannot be read are left out. */
export function parseKnown(text: string): readonly KnownNode[] {
  return text
    .split('\n', MAX_KNOWN)
    .map((line) => /^(\d+\.\d+\.\d+\.\d+):(\d{1,5}) (\d{1,15})$/.exec(line))
    .flatMap((match) => {
      const [, host = '', port, seenAt] = match ?? []
      const node = { host, port: Number(port), seenAt: Number(seenAt) }
      return isIPv4(host) && node.port > 0 && node.port < 65_536 ? node : []
    })
}

export interface AnsweringOptions {
  clock: Clock
  /**
   * The address to ask from. Default: loopback where all nodes are there, else whichever the system
   * chooses.
   */
  host?: string | undefined
  /** Ends the waiting. */
  signal?: AbortSignal | undefined
}

/** Which of these nodes answer; those that are gone would slow every search down. */
export async function answering(
  addresses: readonly Address[],
  { clock, host, signal }: AnsweringOptions
): Promise<readonly Address[]> {
  if (addresses.length === 0) return []
  const isLoopback = addresses.every((address) => address.host.startsWith('127.'))
  const own = host ?? (isLoopback ? '127.0.0.1' : undefined)
  const from = own === undefined ? {} : { host: own }
  const dht = new DHT({ bootstrap: [], ephemeral: true, port: [0, 0], anyPort: true, ...from })
  try {
    await dht.fullyBootstrapped()
    return await pingAll(dht, addresses, { clock, signal })
  } finally {
    await dht.destroy({ force: true })
  }
}

/** Pings through a node that runs already. */
export async function pingAll(
  dht: DHT,
  addresses: readonly Address[],
  { clock, signal }: Pick<AnsweringOptions, 'clock' | 'signal'>
): Promise<readonly Address[]> {
  const alive = new Set<Address>()
  const first = Promise.withResolvers<void>()
  const pings = addresses.map((address) =>
    dht.ping(address, { retry: false }).then(
      () => {
        alive.add(address)
        first.resolve()
      },
      () => {}
    )
  )
  const all = Promise.all(pings)
  const enough = first.promise.then(() => sleep(GRACE_MS, { clock }))
  await deadline(Promise.race([all, enough]), PING_MS, { clock, signal }).catch(() => {})
  return addresses.filter((address) => alive.has(address))
}

/** The number of hyperdht's request for a mutable record. */
const MUTABLE_GET = 7
/** "Whichever": the record's least number, as compact-encoding writes 0. */
const ANY_SEQ = Buffer.from([0])

/** Whether one node of the DHT holds a key's record; 'silent': it does not answer. */
export async function hasRecord(
  dht: DHT,
  address: Address,
  key: Uint8Array
): Promise<'has' | 'lacks' | 'silent'> {
  const target = Buffer.alloc(32)
  crypto_generichash(target, Buffer.from(key))
  const request = { token: null, command: MUTABLE_GET, target, value: ANY_SEQ }
  try {
    const { value } = await dht.request(request, { ...address }, { retry: false })
    return value ? 'has' : 'lacks'
  } catch {
    return 'silent'
  }
}
