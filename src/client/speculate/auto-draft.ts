// A draft model that is searched for and loaded only if trips are so long that its guesses may pay:
// most conversations never load one. Knows no cache and no swarm; the caller says where to search.
import { toAppError, type AppError } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import { NEVER_MS } from './draft-model.ts'
import { NO_DRAFT, type Draft, type Drafter } from './draft.ts'

/** A drafter that must be opened and closed. */
export type OwnedDrafter = Drafter & Resource

export interface AutoDrafterOptions {
  /**
   * Opens the best draft model for trips of this many ms; undefined if none would pay. This object
   * owns the result.
   */
  find: (tripMs: number) => Promise<OwnedDrafter | undefined>
  /** Called with the reason if there is none after all. */
  onerror?: (error: AppError) => void
}

// The median is taken over this many trips: the first ones are slow, and a single one says little.
const TRIPS = 8
// Shorter trips leave no time to guess, ms.
const LEAST_TRIP_MS = 20
// After a search without result: search again when trips have become this many times longer.
const LONGER = 2
// Memory bandwidth of an ordinary machine, bytes per ms: a guess reads the whole model once.
const BYTES_PER_MS = 8e6
// Several guesses are made per trip and some are wrong; with fewer nothing would be gained.
const GUESSES_PER_TRIP = 3

/** Whether guesses of a model of this size may pay at trips of this length. */
export function mayPay(modelBytes: number, tripMs: number): boolean {
  return tripMs >= LEAST_TRIP_MS && tripMs * BYTES_PER_MS >= GUESSES_PER_TRIP * modelBytes
}

export class AutoDrafter extends Resource implements Drafter {
  readonly name = 'model'
  readonly #options: AutoDrafterOptions
  #trips: number[] = []
  #lookedAtMs = 0
  #looking: Promise<void> | undefined
  #found: OwnedDrafter | undefined

  constructor(options: AutoDrafterOptions) {
    super()
    this.#options = options
  }

  get guessMs(): number {
    return this.#found?.guessMs ?? NEVER_MS
  }

  begin(ids: readonly number[]): void {
    this.#found?.begin(ids)
  }

  draft(ids: readonly number[], most: number, signal?: AbortSignal): Draft | Promise<Draft> {
    return this.#found?.draft(ids, most, signal) ?? NO_DRAFT
  }

  ontrip(ms: number): void {
    this.#found?.ontrip?.(ms)
    if (this.#found || this.#looking || this.closing) return
    this.#trips.push(ms)
    if (this.#trips.length < TRIPS) return
    const tripMs = this.#trips.sort((a, b) => a - b)[TRIPS / 2] ?? 0
    this.#trips = []
    if (tripMs < Math.max(LEAST_TRIP_MS, this.#lookedAtMs * LONGER)) return
    this.#lookedAtMs = tripMs
    this.#looking = this.#look(tripMs).finally(() => {
      this.#looking = undefined
    })
  }

  /** Resolves when no search or loading is under way. */
  async settled(): Promise<void> {
    await this.#looking
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    await this.#looking
    await this.#found?.close()
  }

  async #look(tripMs: number): Promise<void> {
    let found: OwnedDrafter | undefined
    try {
      found = await this.#options.find(tripMs)
      await found?.ready()
      this.#found = found
    } catch (error) {
      // Guesses are optional.
      this.#options.onerror?.(toAppError(error))
      await found?.close()
    }
  }
}
