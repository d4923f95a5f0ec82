// Records one block as a list of operations on rows and writes it into a program when it is
// complete: then it is known when rows are read for the last time, and later rows reuse their
// memory.
import type { ProgramBuilder, Value } from '../../kernels/program.ts'

/** Rows of one block, before they have a place in a program. */
export interface Rows {
  readonly width: number
  /** The program's hidden rows, whose place is fixed. */
  readonly isHidden?: true
}

/** Free places of a program, by width; all its blocks share them. */
export class ValuePool {
  readonly #make: (width: number) => Value
  readonly #free = new Map<number, Value[]>()

  /** `make` gives new rows. */
  constructor(make: (width: number) => Value) {
    this.#make = make
  }

  take(width: number): Value {
    return this.#free.get(width)?.pop() ?? this.#make(width)
  }

  giveBack(value: Value): void {
    const free = this.#free.get(value.width)
    if (free) free.push(value)
    else this.#free.set(value.width, [value])
  }
}

export type PlaceOf = (rows: Rows) => Value

interface Step {
  readonly uses: readonly Rows[]
  readonly write: (builder: ProgramBuilder, place: PlaceOf) => void
}

export class RecordedBlock {
  readonly hidden: Rows
  readonly #steps: Step[] = []

  constructor(width: number) {
    this.hidden = { width, isHidden: true }
  }

  /** Records an operation on these rows. */
  step(uses: readonly Rows[], write: Step['write']): void {
    this.#steps.push({ uses, write })
  }

  /** Writes all operations to the program as its next block. */
  write(builder: ProgramBuilder, pool: ValuePool): void {
    const ends = new Map<Rows, number>()
    for (const [index, { uses }] of this.#steps.entries()) {
      for (const rows of uses) ends.set(rows, index)
    }
    const places = new Map<Rows, Value>([[this.hidden, builder.hidden]])
    const place: PlaceOf = (rows) => {
      const known = places.get(rows)
      if (known !== undefined) return known
      const value = pool.take(rows.width)
      places.set(rows, value)
      return value
    }
    builder.block()
    for (const [index, { uses, write }] of this.#steps.entries()) {
      write(builder, place)
      for (const rows of new Set(uses)) {
        if (!rows.isHidden && ends.get(rows) === index) pool.giveBack(place(rows))
      }
    }
  }
}
