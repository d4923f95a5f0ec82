// Whose records are read next, when far more keys are announced than one search can read.
// Announcing costs nothing, so that who announces most or answers first must not hide the others:
// cells take turns, in a cell the DHT nodes that answered do, and of what one of them named chance
// decides. Called by search.ts. Knows no network.
import type { Random } from '../base/random.ts'

/** Keys remembered in a search, read or not: 64 KiB of them. */
const MOST_KEYS = 2_048

interface Source {
  taken: number
  readonly waiting: string[]
}

interface Cell {
  taken: number
  readonly sources: Map<string, Source>
}

export class Candidates {
  readonly #random: Random
  readonly #seen = new Set<string>()
  readonly #cells = new Map<number, Cell>()

  /** @param self is never a candidate, hex */
  constructor(random: Random, self: string) {
    this.#random = random
    this.#seen.add(self)
  }

  /** Whether no more are taken in. */
  get full(): boolean {
    return this.#seen.size > MOST_KEYS
  }

  /**
   * Takes in what one DHT node named at one cell, each key once.
   * @returns how many of them are new
   */
  add(cell: number, source: string, peers: Iterable<string>): number {
    const { waiting } = this.#source(cell, source)
    let fresh = 0
    for (const peer of peers) {
      if (this.full) break
      if (this.#seen.has(peer)) continue
      this.#seen.add(peer)
      waiting.push(peer)
      fresh++
    }
    return fresh
  }

  /** Who is read next. */
  next(): string | undefined {
    const cells = [...this.#cells.values()].filter(({ sources }) => {
      return [...sources.values()].some(({ waiting }) => waiting.length > 0)
    })
    const cell = leastTaken(cells)
    const source =
      cell && leastTaken([...cell.sources.values()].filter(({ waiting }) => waiting.length > 0))
    if (!cell || !source) return undefined
    cell.taken++
    source.taken++
    const at = this.#random.below(source.waiting.length)
    const last = source.waiting.pop()
    if (at === source.waiting.length || last === undefined) return last
    const peer = source.waiting[at]
    source.waiting[at] = last
    return peer
  }

  #source(cellId: number, name: string): Source {
    let cell = this.#cells.get(cellId)
    if (!cell) this.#cells.set(cellId, (cell = { taken: 0, sources: new Map() }))
    let source = cell.sources.get(name)
    if (!source) cell.sources.set(name, (source = { taken: 0, waiting: [] }))
    return source
  }
}

function leastTaken<T extends { readonly taken: number }>(all: readonly T[]): T | undefined {
  let least: T | undefined
  for (const one of all) if (!least || one.taken < least.taken) least = one
  return least
}
