// Speculation of one conversation: what it has learned of trips and guesses, how much it may still
// lose, and the check of a draft against what the model draws. The policy is speculate-policy.ts.
// Called by generate.ts. Knows no swarm.
import type { Draft } from './draft.ts'
import type { Sampler } from './sampler.ts'
import { StepCosts } from './speculate-cost.ts'
import { draftLength, type Estimates } from './speculate-policy.ts'

/** One trip as it turned out. */
export interface Trip {
  /** The whole guess, of which the first `sent` ids were sent. */
  readonly draft: Draft
  readonly sent: number
  /** What the model drew: accepted ids and one more. */
  readonly drawn: readonly number[]
  /** From the guess to the last id drawn. */
  readonly ms: number
}

/** Decides how much of a draft is sent; the default is a Speculator. */
export interface Speculation {
  /** How many of at most `most` guesses to send that `matched` ids support. */
  choose(matched: number, most: number): number
  note(trip: Trip): void
}

// Of every ms that plain decoding would have taken, this share may be lost by guessing wrongly.
const LOSS_SHARE = 0.02
// What was won is not put at stake again beyond this many plain trips.
const MOST_STAKED = 8
// A run of bad luck is paid off for as long as it takes to earn this many plain trips.
const MOST_OWED = 1

export class Speculator implements Speculation {
  readonly #costs = new StepCosts()
  readonly #acceptance = new Acceptance()
  #spareMs = 0

  choose(matched: number, most: number): number {
    return draftLength(this.#estimates(), matched, most)
  }

  note(trip: Trip): void {
    const { draft, sent, drawn } = trip
    for (const [i, id] of drawn.entries()) {
      const guess = draft.ids[i]
      if (guess !== undefined) this.#acceptance.note(draft.matched + i, guess === id)
    }
    this.#costs.note(sent + 1, trip.ms)
    // By the learned costs and not by `ms`: one reroute is neither the fault nor the merit of a guess.
    const plainMs = this.#costs.at(1)
    const lostMs = sent > 0 ? this.#costs.at(sent + 1) - drawn.length * plainMs : 0
    const spare = this.#spareMs + LOSS_SHARE * drawn.length * plainMs - lostMs
    this.#spareMs = Math.min(Math.max(spare, -MOST_OWED * plainMs), MOST_STAKED * plainMs)
  }

  #estimates(): Estimates {
    return {
      costMs: (rows) => this.#costs.at(rows),
      acceptance: (matched) => this.#acceptance.of(matched),
      spareMs: this.#spareMs,
      measured: this.#costs.measured
    }
  }
}

// The last 20 or so guesses of each kind count.
const KEPT = 0.95
const FIRST_GUESS = 0.5
// As many guesses does the next shorter support's estimate count.
const PRIOR_WEIGHT = 2
const LONGEST = 8

/** How often guesses were right, by how many ids supported them. */
export class Acceptance {
  readonly #right = new Float64Array(LONGEST + 1)
  readonly #all = new Float64Array(LONGEST + 1)

  note(matched: number, right: boolean): void {
    const at = Math.max(0, Math.min(matched, LONGEST))
    this.#right[at] = (this.#right[at] ?? 0) * KEPT + (right ? 1 : 0)
    this.#all[at] = (this.#all[at] ?? 0) * KEPT + 1
  }

  of(matched: number): number {
    let estimate = FIRST_GUESS
    for (let at = 0; at <= Math.min(matched, LONGEST); at++) {
      const right = (this.#right[at] ?? 0) + PRIOR_WEIGHT * estimate
      estimate = right / ((this.#all[at] ?? 0) + PRIOR_WEIGHT)
    }
    return estimate
  }
}

/**
 * Draws ids as plain decoding would, one a row, for as long as they are those that were guessed; so
 * the text, the distribution and the random numbers used are those of plain decoding.
 * @param logits (sent.length + 1, vocabSize): row i stands behind the first i guesses
 * @param text ids so far; what is drawn is put behind them, without a stop
 * @returns the guesses that were right, then the id that was not guessed; nothing behind a stop
 */
export function verify(
  logits: Float32Array,
  sent: readonly number[],
  sampler: Sampler,
  text: number[],
  stops: ReadonlySet<number>
): number[] {
  const vocabSize = logits.length / (sent.length + 1)
  const drawn: number[] = []
  for (let row = 0; row <= sent.length; row++) {
    const id = sampler.next(logits.subarray(row * vocabSize, (row + 1) * vocabSize), text)
    drawn.push(id)
    if (stops.has(id)) break
    text.push(id)
    if (id !== sent[row]) break
  }
  return drawn
}
