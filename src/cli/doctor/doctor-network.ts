// Network checks of petals doctor: a socket, the DHT, the hub. Each has a deadline.
import { systemClock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { hubEndpoint, type HubOptions } from '../../model/hub/hub.ts'
import type { Address } from '../../library/surroundings.ts'
import type { DhtFacts, NetworkFacts, Refusal } from './doctor-facts.ts'

const HUB_MS = 5_000

/** Binds a socket as the swarm does. */
export async function socketFacts(): Promise<NetworkFacts['socket']> {
  try {
    const { trySocket } = await import('../../swarm/dht/udp-socket.ts')
    return await trySocket()
  } catch (error) {
    return refusalOf(error, 'Permit UDP sockets to this program: look at its firewall or sandbox')
  }
}

/** Joins the DHT from `bootstrap`, or from the public nodes, and leaves again. */
export async function dhtFacts(bootstrap: readonly Address[]): Promise<DhtFacts | Refusal> {
  try {
    // Loads the native addon; without a folder to unpack it to, only this fails.
    const { joinDht, makeDht } = await import('../../swarm/dht/own-dht.ts')
    const { createIdentity } = await import('../../swarm/identity.ts')
    const options = { bootstrap, identity: createIdentity(), clock: systemClock, log: silentLog }
    const dht = makeDht(options)
    try {
      await joinDht(dht, options)
      const own = bootstrap.map(({ host, port }) => `${host}:${port}`).join(', ')
      const { nodes, randomized } = dht
      return { from: own || 'the public nodes', nodes: nodes.length, randomized }
    } finally {
      await dht.destroy({ force: true })
    }
  } catch (error) {
    return refusalOf(error, 'Check the connection to the internet')
  }
}

/** Whether the hub answers at all. The token is not sent. */
export async function hubFacts(
  options: HubOptions,
  signal: AbortSignal
): Promise<{ endpoint: string; ms: number } | Refusal> {
  let endpoint = ''
  try {
    endpoint = hubEndpoint(options)
    const started = systemClock.now()
    const response = await fetch(endpoint, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(HUB_MS)])
    })
    const ms = systemClock.now() - started
    if (response.status < 500) return { endpoint, ms }
    return refusalOf(new Error(`${endpoint} answers ${response.status}`), 'Try again later')
  } catch (error) {
    const { message, hint } = toAppError(error)
    const next = hint ?? 'Check the connection; HF_ENDPOINT names another hub, and files need none'
    return { reason: endpoint === '' ? message : `${endpoint} does not answer: ${message}`, next }
  }
}

function refusalOf(error: unknown, next: string): Refusal {
  const { message, hint, code } = toAppError(error)
  return { reason: message, next: hint ?? next, denied: code === 'DENIED' }
}
