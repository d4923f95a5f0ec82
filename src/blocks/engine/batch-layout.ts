// Where rows of several sessions lie in one run, and who sits in which slot of it. Pure.
import { EXTRA_ROWS } from '../graph/attention.ts'

export interface BatchLayout {
  /** Rows of the run. */
  readonly count: number
  /** Where each slot's rows begin in the run, (slots). */
  readonly first: readonly number[]
  /** Rows that slots get, one slot after the other: a slot's own, its last once more, (padded). */
  readonly rows: BigInt64Array
  /** How many of them each slot gets, (slots). */
  readonly sizes: BigInt64Array
  /** Which of what slots answer are the run's rows, (count). */
  readonly kept: BigInt64Array
}

/** `counts`: rows of each slot; an empty slot gets a copy of the run's first, whose answer is dropped. */
export function layoutOf(counts: readonly number[]): BatchLayout {
  const count = counts.reduce((sum, rows) => sum + rows, 0)
  const first: number[] = []
  const rows: bigint[] = []
  const kept: bigint[] = []
  const sizes: bigint[] = []
  let next = 0
  for (const own of counts) {
    first.push(next)
    const before = rows.length
    for (let row = 0; row < own; row++) {
      kept.push(BigInt(rows.length))
      rows.push(BigInt(next + row))
    }
    const last = own === 0 ? 0 : next + own - 1
    for (let extra = 0; extra < EXTRA_ROWS; extra++) rows.push(BigInt(last))
    sizes.push(BigInt(rows.length - before))
    next += own
  }
  return {
    count,
    first,
    rows: BigInt64Array.from(rows),
    sizes: BigInt64Array.from(sizes),
    kept: BigInt64Array.from(kept)
  }
}

/** A slot for each of `wanted`: its own where it sits already, else an empty one, else one of somebody absent. */
export function takeSeats<T>(seated: readonly (T | undefined)[], wanted: readonly T[]): number[] {
  const present = new Set(wanted)
  const own = new Map<T, number>()
  const empty: number[] = []
  const absent: number[] = []
  for (const [slot, who] of seated.entries()) {
    if (who === undefined) empty.push(slot)
    else if (present.has(who)) own.set(who, slot)
    else absent.push(slot)
  }
  const others = [...empty, ...absent]
  return wanted.map((who) => {
    const slot = own.get(who) ?? others.shift()
    if (slot === undefined) throw new RangeError(`There are ${seated.length} slots`)
    return slot
  })
}
