// What a node of the swarm is made with.
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { WireDtype } from '../wire/types.ts'
import type { Address } from './dht/address.ts'
import type { Rendezvous } from './dht/rendezvous.ts'
import type { Identity } from './identity.ts'
import type { Membership } from './private/membership.ts'

export interface SwarmNodeOptions {
  /** Where to begin. Default: the public DHT's own nodes. */
  bootstrap?: readonly Address[]
  /** Finds out where to begin, in place of `bootstrap`; opened and closed with the node. */
  rendezvous?: Rendezvous | undefined
  /** ready() waits until somebody answers in the DHT. Default: it fails after a while. */
  waits?: boolean | undefined
  identity: Identity
  /** For people, e.g. 'petals/0.1.0 (linux x64)'. Default 'petals'. */
  agent?: string
  /** Wire dtypes to say in hello. Default all. */
  dtypes?: readonly WireDtype[]
  /** Address to bind. Default every interface; loopback when every bootstrap node is there. */
  host?: string
  /** UDP port. Default any. */
  port?: number
  /**
   * Makes it a node of a private swarm: only members are let in, and only they can read what it
   * says.
   */
  membership?: Membership | undefined
  /** No NAT stands between the peers: no hole need be punched. Default: on loopback. */
  open?: boolean | undefined
  /** Public key of a relay for peers that no hole punching reaches. */
  relayThrough?: Uint8Array | null
  /** Links taken in, in all. Default 1024. */
  maxLinks?: number
  /** Links taken in from one address. Default 256. */
  maxLinksPerHost?: number
  clock?: Clock
  random?: Random
  log?: Log
}
