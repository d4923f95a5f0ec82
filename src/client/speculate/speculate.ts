// Speculation in one conversation: what was learnt of trips and guesses, how much may still be
// lost, and the comparison of a draft with what the model draws. speculate-policy.ts decides.
// Called by generate.ts. Knows no swarm.
import type { Draft, Drafter } from './draft.ts'
import type { Sampler } from '../text/sampler.ts'
import { StepCosts } from './speculate-cost.ts'
import { chooseDraft, type Choice } from './speculate-policy.ts'

export type Source = Pick<Drafter, 'name' | 'guessMs'>

export interface Guess {
  readonly source: Source
  readonly draft: Draft
}

/** The result of one trip. */
export interface Trip {
  /**
   * All guesses that were made, by drafter. Only one drafter's were sent; the others are made to
   * see whether they were right.
   */
  readonly guesses: readonly Guess[]
  /** How many guesses were sent. */
  readonly sent: number
  /** Time to make the guesses that were sent, ms. */
  readonly guessMs: number
  /** What the model drew: accepted ids and one more. */
  readonly drawn: readonly number[]
  /** From embedding the rows to having their logits. */
  readonly ms: number
}

/** Decides how much of a draft is sent; a Speculator by default. */
export interface Speculation {
  /** How many of at most `most` guesses, supported by `matched` ids, to send. */
  choose(source: Source, matched: number, most: number): Choice
  note(trip: Trip): void
}

// Share of the time of plain decoding that may be lost by wrong guesses.
const LOSS_SHARE = 0.02
// Most gains that may be lost again, in plain trips.
const MOST_STAKED = 8
// Most debt after bad luck, in plain trips that must be earned first.
const MOST_OWED = 1

export class Speculator implements Speculation {
  readonly #costs = new StepCosts()
  readonly #acceptance = new Map<string, Acceptance>()
  #spareMs = 0

  choose(source: Source, matched: number, most: number): Choice {
    const acceptance = this.#acceptanceOf(source)
    const estimates = {
      costMs: (rows: number) => this.#costs.at(rows),
      acceptance: (support: number) => acceptance.of(support),
      guessMs: source.guessMs,
      spareMs: this.#spareMs,
      measured: this.#costs.measured
    }
    return chooseDraft(estimates, matched, most)
  }

  note(trip: Trip): void {
    const { guesses, sent, drawn } = trip
    for (const { source, draft } of guesses) {
      const acceptance = this.#acceptanceOf(source)
      for (const [i, id] of drawn.entries()) {
        const guess = draft.ids[i]
        if (guess !== undefined) acceptance.note(draft.matched + i, guess === id)
      }
    }
    for (const [name, acceptance] of this.#acceptance) {
      if (!guesses.some(({ source }) => source.name === name)) acceptance.fade()
    }
    this.#costs.note(sent + 1, trip.ms)
    // By the learnt costs and not by `ms`: a failover is neither the fault nor the merit of a
    // guess.
    const plainMs = this.#costs.at(1)
    const costMs = this.#costs.at(sent + 1) + trip.guessMs
    const lostMs = sent > 0 ? costMs - drawn.length * plainMs : 0
    const spare = this.#spareMs + LOSS_SHARE * drawn.length * plainMs - lostMs
    this.#spareMs = Math.min(Math.max(spare, -MOST_OWED * plainMs), MOST_STAKED * plainMs)
  }

  #acceptanceOf(source: Source): Acceptance {
    let acceptance = this.#acceptance.get(source.name)
    if (!acceptance) {
      acceptance = new Acceptance()
      this.#acceptance.set(source.name, acceptance)
    }
    return acceptance
  }
}

// Factor for older guesses: about the last 20 of each kind count.
const KEPT = 0.95
const FIRST_GUESS = 0.5
// Weight of the estimate for the next shorter support, in guesses.
const PRIOR_WEIGHT = 2
const LONGEST = 8
// Factor per trip by which an estimate fades while no such guess is made.
const KEPT_UNSEEN = 0.99

/** How often guesses were right, by how many ids supported them. */
export class Acceptance {
  readonly #right = new Float64Array(LONGEST + 1)
  readonly #all = new Float64Array(LONGEST + 1)

  note(matched: number, right: boolean): void {
    const at = Math.max(0, Math.min(matched, LONGEST))
    this.#right[at] = (this.#right[at] ?? 0) * KEPT + (right ? 1 : 0)
    this.#all[at] = (this.#all[at] ?? 0) * KEPT + 1
  }

  /**
   * A trip passed without a guess: expensive guesses that were once found poor must get another
   * chance.
   */
  fade(): void {
    for (let at = 0; at <= LONGEST; at++) {
      this.#right[at] = (this.#right[at] ?? 0) * KEPT_UNSEEN
      this.#all[at] = (this.#all[at] ?? 0) * KEPT_UNSEEN
    }
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
 * Draws ids as plain decoding would, one per row, as long as they equal the guesses. So the text,
 * the distribution and the random numbers are those of plain decoding.
 * @param logits (sent.length + 1, vocabSize): row i follows the first i guesses
 * @param text ids so far; drawn ids are appended, except a stop
 * @returns the guesses that were right, then the id that was not guessed; nothing after a stop
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
