// The DHT node of a peer: how it is made for the network that its bootstrap nodes are in, and when
// it counts as joined. Called by node.ts. Knows no links and no records.
import DHT from 'hyperdht'
import { deadline, sleep, type Clock } from '../../base/clock.ts'
import { AppError, inUse, toAppError, unavailable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { nameOf, type Address } from './address.ts'
import { PUNCH_EVERY_MS } from '../dialer.ts'
import type { Identity } from '../identity.ts'

export interface OwnDhtOptions {
  bootstrap: readonly Address[]
  identity: Identity
  /**
   * Address to bind. Default: loopback where all bootstrap nodes are there, else every interface.
   */
  host?: string | undefined
  /** UDP port. Default any. */
  port?: number | undefined
  /** More nodes to begin searches from, beside the bootstrap nodes. */
  nodes?: readonly Address[] | undefined
  /** No NAT stands between the peers. Default: on loopback. */
  open?: boolean | undefined
  /** Tries again until somebody answers. Default: fails. */
  waits?: boolean | undefined
  signal?: AbortSignal
  clock: Clock
  log: Log
}

const BOOTSTRAP_MS = 10_000
/** Between two tries, while it waits. */
const WAIT_MS = 5_000
const OPEN_MS = 1_000

/**
 * A DHT node that has joined.
 * @param onmade called with each node that is made: a new one for each try
 * @throws AppError UNAVAILABLE when nobody answers, IN_USE for the port, CANCELLED
 */
export async function openDht(
  options: OwnDhtOptions,
  onmade: (dht: DHT) => void = () => {}
): Promise<DHT> {
  const { waits = false, clock, log, signal } = options
  for (;;) {
    const dht = makeDht(options)
    onmade(dht)
    try {
      await joinDht(dht, options)
      return dht
    } catch (error) {
      const { code, message } = toAppError(error)
      if (!waits || code !== 'UNAVAILABLE') throw error
      log.debug(`${message}: trying again`)
      await dht.destroy({ force: true })
      await sleep(WAIT_MS, { clock, ...(signal ? { signal } : {}) })
    }
  }
}

export function makeDht(options: OwnDhtOptions): DHT {
  const { bootstrap, identity, port = 0 } = options
  const host = options.host ?? (isLoopback(options) ? '127.0.0.1' : undefined)
  return new DHT({
    ...(bootstrap.length > 0 ? { bootstrap } : {}),
    ...(options.nodes ? { nodes: options.nodes } : {}),
    keyPair: identity,
    // One at a time; the dialer has others wait for their turn.
    randomPunchInterval: PUNCH_EVERY_MS,
    port: port === 0 ? [0, 0] : [port, port + 1],
    anyPort: port === 0,
    ...(host === undefined ? {} : { host }),
    // No hole need be punched.
    ...(isOpen(options) ? { firewalled: false } : {})
  })
}

/** @throws AppError UNAVAILABLE when nobody answers, IN_USE for the port, CANCELLED */
export async function joinDht(dht: DHT, options: OwnDhtOptions): Promise<void> {
  const { bootstrap, port = 0, clock, log, signal } = options
  const limit = { clock, signal, what: 'Joining the DHT' }
  try {
    const joined = deadline(dht.fullyBootstrapped(), BOOTSTRAP_MS, limit)
    // Where there is no NAT to be learnt about, nodes that are gone need not be waited for.
    const soon = isOpen(options) ? deadline(joined, OPEN_MS, limit) : joined
    await soon.catch((error: unknown) => {
      if (!isOpen(options) || dht.nodes.length === 0) return joined
      joined.catch((late: unknown) => log.debug(toAppError(late).message))
      log.debug(toAppError(error).message)
    })
  } catch (cause) {
    const { code } = toAppError(cause)
    if (code === 'TIMEOUT') throw nobody(bootstrap, cause)
    if (cause instanceof AppError) throw cause
    throw inUse(`The swarm cannot be joined: UDP port ${port} cannot be used`, {
      hint: 'Stop what uses it, or choose another with --port',
      cause
    })
  }
  if (dht.nodes.length === 0) throw nobody(bootstrap)
}

function nobody(bootstrap: readonly Address[], cause?: unknown): AppError {
  const where = bootstrap.map(nameOf).join(', ')
  return unavailable(
    `The swarm cannot be joined: nobody answers at ${where || 'the public nodes'}`,
    {
      hint: where
        ? 'Start a node there with petals bootstrap, or correct --bootstrap'
        : 'Check the connection to the internet, or start from your own node with --bootstrap',
      cause
    }
  )
}

function isOpen(options: OwnDhtOptions): boolean {
  return options.open ?? isLoopback(options)
}

function isLoopback({ bootstrap }: OwnDhtOptions): boolean {
  return (
    bootstrap.length > 0 &&
    bootstrap.every(({ host }) => host.startsWith('127.') || host === 'localhost')
  )
}
