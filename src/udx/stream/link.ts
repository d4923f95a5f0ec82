// What a stream core needs from its surroundings, and what it tells its owner. The real link is
// turn.ts with a UDP socket behind it; tests use a fake one with its own clock.

import type { Route } from './rings.ts'
import type { Slot, SlotPool } from './slots.ts'

/** The side of a UDP socket that a core sends through. */
export interface Outlet {
  /** True while the kernel refuses more; cores are woken when that ends. */
  readonly blocked: boolean
  /** Largest MTU worth probing on this socket; 1200 or less turns the search off. */
  readonly mtuLimit: number
  /**
   * Queues a packet for the end of this turn. `packet` must stay untouched until then. A probe is
   * sent alone, with DF: networks on the way drop it when it is too large.
   */
  queue(packet: Uint8Array, route: Route, isProbe?: boolean): void
  /** Gives a slot back to its pool once its packet has gone out. */
  release(slot: Slot): void
  /** Sends all that is queued, now. */
  flush(): void
}

/** What a link calls of a core. */
export interface LinkedCore {
  /** It waits for the end of this turn. */
  awake: boolean
  readonly closed: boolean
  flush(): void
  ontimer(): void
}

/** Clock, end-of-turn wake-ups, timers and buffers. */
export interface Link {
  readonly pool: SlotPool
  /** Monotonic ms with fractions. */
  now(): number
  /** Asks for one `core.flush()` at the end of this turn of the event loop. */
  wake(core: LinkedCore): void
  /** Asks for `core.ontimer()` at or after `deadline`; replaces the earlier request. */
  arm(core: LinkedCore, deadline: number): void
  /** Takes the request back and frees the timer. */
  disarm(core: LinkedCore): void
}

/** Why a core closed. */
export type CloseReason = 'done' | 'destroyed' | 'reset' | 'timeout' | 'relay'

/** What a core tells the stream that owns it. Calls may re-enter the core. */
export interface CoreOwner {
  ondata(data: Uint8Array): void
  onend(): void
  onmessage(data: Uint8Array): void
  /** Acknowledged bytes or the END moved; the owner looks at `core.queuedBytes`. */
  onack(): void
  onremotechanged(): void
  /** Bytes that the application has not read yet. */
  unreadBytes(): number
  /** True refuses the packet. */
  onfirewall(outlet: Outlet, port: number, address: string): boolean
  onclose(reason: CloseReason): void
}
