// The chain of servers that a session runs through, and what was sent across each boundary between
// them. State only: opener.ts talks to servers, route-keeper.ts decides who is in the chain.
import type { WireDtype } from '../../wire/types.ts'
import type { Hop } from '../route/hop.ts'
import type { RouteHop } from '../route/route.ts'
import { History } from './history.ts'
import type { HopProgress } from './replay.ts'

export interface ChainOptions {
  hiddenSize: number
  dtype: WireDtype
}

export class Chain {
  readonly #hiddenSize: number
  #dtype: WireDtype
  #hops: readonly Hop[] = []
  /** Inputs by the block they go into; kept when the servers that received them are gone. */
  readonly #inputs = new Map<number, History>()

  constructor({ hiddenSize, dtype }: ChainOptions) {
    this.#hiddenSize = hiddenSize
    this.#dtype = dtype
  }

  /** Ordered by first block. */
  get hops(): readonly Hop[] {
    return this.#hops
  }

  get route(): RouteHop[] {
    return this.#hops.map(({ link: { peer, isLocal }, start, end }) => {
      return isLocal ? { peer, start, end, isLocal } : { peer, start, end }
    })
  }

  get dtype(): WireDtype {
    return this.#dtype
  }

  /** The input of `block`. */
  inputs(block: number): History {
    let inputs = this.#inputs.get(block)
    if (!inputs) {
      inputs = new History(this.#hiddenSize, this.#dtype)
      this.#inputs.set(block, inputs)
    }
    return inputs
  }

  /** How far each hop is, for replay.ts. */
  progress(): HopProgress[] {
    return this.#hops.map(({ kv, inputs }, at) => {
      return { kv, from: inputs.from, length: inputs.length, relay: this.isCarried(at) }
    })
  }

  has(peer: string): boolean {
    return this.#hops.some((hop) => hop.link.peer === peer)
  }

  /**
   * Whether the client carries what comes out of the hop at this index: its server cannot push it,
   * or one of the two computes in this process.
   */
  isCarried(at: number): boolean {
    const [hop, next] = [this.#hops[at], this.#hops[at + 1]]
    return hop?.relay === true || hop?.link.isLocal === true || next?.link.isLocal === true
  }

  /** Whether this server is in the chain, is not the last, and pushes to the next one. */
  canCarry(peer: string): boolean {
    const at = this.#hops.findIndex((one) => one.link.peer === peer)
    return at >= 0 && at + 1 < this.#hops.length && !this.isCarried(at)
  }

  /** From now on the client carries rows from this server to the next. */
  carryAfter(peer: string): void {
    const hop = this.#hops.find((one) => one.link.peer === peer)
    if (hop) hop.relay = true
  }

  add(hops: readonly Hop[]): void {
    this.#hops = [...this.#hops, ...hops].sort((a, b) => a.start - b.start)
  }

  /** Removes a server; what it was sent is kept. */
  remove(peer: string): Hop | undefined {
    const hop = this.#hops.find((one) => one.link.peer === peer)
    this.#hops = this.#hops.filter((one) => one !== hop)
    return hop
  }

  /** Drops positions from `length` on. */
  truncate(length: number): void {
    for (const inputs of this.#inputs.values()) inputs.truncate(length)
    for (const hop of this.#hops) {
      hop.kv = Math.min(hop.kv, length)
      hop.named = Math.min(hop.named, length)
    }
  }

  /** Drops inputs at boundaries that the chain does not have. @returns their blocks */
  forgetInputs(): number[] {
    const starts = new Set(this.#hops.map((hop) => hop.start))
    const gone = [...this.#inputs.keys()].filter((block) => !starts.has(block))
    for (const block of gone) this.#inputs.delete(block)
    return gone
  }

  /**
   * Rows travel in another type from now on. What servers computed from rows of the old type is
   * computed again from the first block's inputs.
   */
  convert(dtype: WireDtype): void {
    const first = this.inputs(0).as(dtype)
    this.#dtype = dtype
    this.#inputs.clear()
    this.#inputs.set(0, first)
    this.#hops = this.#hops.map((hop) => {
      return { ...hop, inputs: this.inputs(hop.start), kv: 0, named: 0 }
    })
  }

  clear(): void {
    this.#hops = []
    this.#inputs.clear()
  }
}
