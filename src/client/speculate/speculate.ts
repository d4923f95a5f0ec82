// Speculation of one conversation: what it has learned of trips and guesses, how much it may still
// lose, and the check of a draft against what the model draws. The policy is speculate-policy.ts.
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

/** One trip as it turned out. */
export interface Trip {
  /** Every guess that was made, by whom; all but one only to see whether it was right. */
  readonly guesses: readonly Guess[]
  /** How many guesses were sent, of one draft. */
  readonly sent: number
  /** Time of making what was sent, ms. */
  readonly guessMs: number
  /** What the model drew: accepted ids and one more. */
  readonly drawn: readonly number[]
  /** From embedding the rows to having their logits. */
  readonly ms: number
}

/** Decides how much of a draft is sent; the default is a Speculator. */
export interface Speculation {
  /** How many of at most `most` guesses to send that `matched` ids support. */
  choose(source: Source, matched: number, most: number): Choice
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
    // By the learned costs and not by `ms`: one reroute is neither the fault nor the merit of a
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

// The last 20 or so guesses of each kind count.
const KEPT = 0.95
const FIRST_GUESS = 0.5
// As many guesses does the next shorter support's estimate count.
const PRIOR_WEIGHT = 2
const LONGEST = 8
// What guesses nobody made any more were worth is forgotten at this rate a trip.
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

  /** A trip passed without a guess: once found poor, guesses that cost must get another chance. */
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
