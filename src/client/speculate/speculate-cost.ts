// How long a trip through the swarm takes, by its number of rows, learnt from past trips: a line
// through all of them, adjusted to what each number of rows itself took. Knows no tokens and no
// swarm.

// Factor for older measurements: about the last 40 count, since routes and loads change.
const KEPT = 0.975
// Assumed cost of another row, relative to a trip with one, until it is measured.
const ROW_SHARE = 0.2
// Weight that measurements must have to move away from that assumption.
const PRIOR_WEIGHT = 1
// The line counts as this many measurements of each number of rows.
const LINE_WEIGHT = 2
// A trip this many times longer was a failover or a stall, not the cost of its rows.
const OUTLIER = 3
// Measurements needed before one can be called an outlier.
const FEW = 3

interface Readings {
  weight: number
  total: number
  /** Number of the last measurement. */
  at: number
}

export class StepCosts {
  readonly #byRows = new Map<number, Readings>()
  #count = 0
  /** Remaining weight of measurements of more than one row. */
  #severalWeight = 0
  // Weighted sums over all measurements of 1, x, x^2, ms and x * ms, with x = rows - 1.
  #n = 0
  #x = 0
  #xx = 0
  #y = 0
  #xy = 0

  /** Whether the cost of more rows was measured, and recently. */
  get measured(): boolean {
    return this.#severalWeight >= 1
  }

  note(rows: number, ms: number): void {
    const usual = this.at(rows)
    const taken = this.#count >= FEW && usual > 0 ? Math.min(ms, usual * OUTLIER) : ms
    const x = rows - 1
    this.#count++
    this.#n = this.#n * KEPT + 1
    this.#x = this.#x * KEPT + x
    this.#xx = this.#xx * KEPT + x * x
    this.#y = this.#y * KEPT + taken
    this.#xy = this.#xy * KEPT + x * taken
    this.#severalWeight = this.#severalWeight * KEPT + (rows > 1 ? 1 : 0)
    const own = this.#byRows.get(rows) ?? { weight: 0, total: 0, at: this.#count }
    const faded = KEPT ** (this.#count - own.at)
    const weight = own.weight * faded + 1
    const total = own.total * faded + taken
    this.#byRows.set(rows, { weight, total, at: this.#count })
  }

  /** Expected duration of a trip with `rows` rows, ms; 0 while nothing is known. */
  at(rows: number): number {
    if (this.#n === 0) return 0
    const { base, perRow } = this.#line()
    const line = base + perRow * (rows - 1)
    const own = this.#byRows.get(rows)
    if (!own) return line
    const faded = KEPT ** (this.#count - own.at)
    return (own.total * faded + line * LINE_WEIGHT) / (own.weight * faded + LINE_WEIGHT)
  }

  /** Least squares of ms = base * (1 + ROW_SHARE x) + d x, where the prior keeps d near 0. */
  #line(): { base: number; perRow: number } {
    const uu = this.#n + 2 * ROW_SHARE * this.#x + ROW_SHARE ** 2 * this.#xx
    const ux = this.#x + ROW_SHARE * this.#xx
    const uy = this.#y + ROW_SHARE * this.#xy
    const xx = this.#xx + PRIOR_WEIGHT
    const determinant = uu * xx - ux * ux
    const base = (uy * xx - ux * this.#xy) / determinant
    const perRow = ROW_SHARE * base + (uu * this.#xy - ux * uy) / determinant
    // Noise must not make more rows look cheaper than fewer: then all cost the same.
    if (base > 0 && perRow >= 0) return { base, perRow }
    return { base: this.#y / this.#n, perRow: 0 }
  }
}
