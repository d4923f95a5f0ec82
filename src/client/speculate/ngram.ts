// Guesses by finding the last ids earlier in the text: what followed them then may follow again.
// Knows no model. Memory is a few integers per token; a token costs a bounded number of look-ups.
import type { Draft, Drafter } from './draft.ts'
import { NO_DRAFT } from './draft.ts'

// Longest first: long matches are rare and nearly always right, short ones the opposite. `depth` is
// the number of earlier places that are compared, so that a frequent pair cannot make a token slow.
const ORDERS = [
  { order: 4, depth: 16 },
  { order: 2, depth: 16 },
  { order: 1, depth: 4 }
] as const
// Most places that are looked at, including those that share only the hash.
const MOST_SEEN = 48
// More support no longer changes how likely a guess is.
const MOST_MATCHED = 16
const FIRST_BUCKETS = 1024

/**
 * Earlier places of each n-gram, newest first, as LZ77 keeps them. The last ones can be removed
 * again exactly.
 */
class Chains {
  readonly order: number
  #mask = FIRST_BUCKETS - 1
  /** By hash: one past the newest place; 0 is none. */
  #heads = new Int32Array(FIRST_BUCKETS)
  /** By place: the next older place of the same hash, likewise. */
  #older = new Int32Array(FIRST_BUCKETS)

  constructor(order: number) {
    this.order = order
  }

  /** Adds the n-gram that ends before `end`; called for every `end` in order. */
  add(ids: Int32Array, end: number): void {
    if (end >= this.#older.length) this.#grow(ids, end)
    if (end < this.order) return
    const hash = this.#hash(ids, end)
    this.#older[end] = this.#heads[hash] ?? 0
    this.#heads[hash] = end
  }

  /** Removes the newest one. */
  remove(ids: Int32Array, end: number): void {
    if (end >= this.order) this.#heads[this.#hash(ids, end)] = this.#older[end] ?? 0
  }

  /** The newest earlier end of what may be the same n-gram, or 0. */
  before(end: number): number {
    return this.#older[end] ?? 0
  }

  #hash(ids: Int32Array, end: number): number {
    let hash = 0
    for (let i = end - this.order; i < end; i++) {
      hash = Math.imul(hash ^ (ids[i] ?? 0), 0x9e3779b1)
      hash ^= hash >>> 15
    }
    return hash & this.#mask
  }

  #grow(ids: Int32Array, end: number): void {
    const size = this.#older.length * 2
    this.#mask = size - 1
    this.#heads = new Int32Array(size)
    this.#older = new Int32Array(size)
    for (let i = 0; i < end; i++) this.add(ids, i)
  }
}

export class NgramDrafter implements Drafter {
  readonly name = 'text'
  readonly guessMs = 0
  readonly #chains = ORDERS.map(({ order }) => new Chains(order))
  #ids = new Int32Array(FIRST_BUCKETS)
  #length = 0

  begin(ids: readonly number[]): void {
    const most = Math.min(ids.length, this.#length)
    let same = 0
    while (same < most && this.#ids[same] === ids[same]) same++
    for (; this.#length > same; this.#length--) {
      for (const chains of this.#chains) chains.remove(this.#ids, this.#length)
    }
    this.#append(ids)
  }

  draft(ids: readonly number[], most: number): Draft {
    this.#append(ids)
    const { place, matched } = this.#longest()
    if (matched === 0 || most <= 0) return NO_DRAFT
    const guess: number[] = []
    // Reading on into the guess itself continues a text that repeats with a short period.
    for (let at = place; guess.length < most; at++) {
      const id = at < this.#length ? this.#ids[at] : guess[at - this.#length]
      if (id === undefined) break
      guess.push(id)
    }
    return { ids: guess, matched }
  }

  #append(ids: readonly number[]): void {
    if (ids.length > this.#ids.length) {
      const grown = new Int32Array(Math.max(ids.length, this.#ids.length * 2))
      grown.set(this.#ids.subarray(0, this.#length))
      this.#ids = grown
    }
    while (this.#length < ids.length) {
      this.#ids[this.#length] = ids[this.#length] ?? 0
      this.#length++
      for (const chains of this.#chains) chains.add(this.#ids, this.#length)
    }
  }

  /** The earlier place whose preceding ids agree longest with the end; of equal ones the newest. */
  #longest(): { place: number; matched: number } {
    let place = 0
    let matched = 0
    for (const [i, { order, depth }] of ORDERS.entries()) {
      let at = this.#chains[i]?.before(this.#length) ?? 0
      let found = 0
      for (let seen = 0; at > 0 && seen < MOST_SEEN && found < depth; seen++) {
        const length = this.#agreement(at)
        if (length >= order) found++
        if (length > matched) {
          place = at
          matched = length
        }
        if (matched === MOST_MATCHED) break
        at = this.#chains[i]?.before(at) ?? 0
      }
      if (matched >= order) break
    }
    return { place, matched }
  }

  #agreement(place: number): number {
    let length = 0
    while (
      length < MOST_MATCHED &&
      length < place &&
      this.#ids[place - 1 - length] === this.#ids[this.#length - 1 - length]
    ) {
      length++
    }
    return length
  }
}
