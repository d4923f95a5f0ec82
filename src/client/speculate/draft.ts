// What guesses the tokens that come next, so that one trip through the swarm can check several.
// Knows no swarm: a guess is only ever compared with what the model itself draws.

export interface Draft {
  /** Guessed ids, in order. */
  readonly ids: readonly number[]
  /**
   * How many ids before the guess support it; each accepted id supports the rest by one more. The
   * policy learns acceptance by this number, so it need not be on any scale.
   */
  readonly matched: number
}

export interface Drafter {
  /** Guesses of one name are right equally often, as far as `matched` tells. */
  readonly name: string
  /**
   * Time of one guess, ms. 0: next to nothing, so that it may be made only to see if it was right.
   */
  readonly guessMs: number
  /** A text begins with `ids`; it may share a beginning with the one before. */
  begin(ids: readonly number[]): void
  /** Guesses at most `most` ids behind `ids`, which continue what was begun or drafted for. */
  draft(
    ids: readonly number[],
    most: number,
    signal?: AbortSignal | undefined
  ): Draft | Promise<Draft>
  /** Told of every trip what it took, from embedding the rows to having their logits, ms. */
  ontrip?(ms: number): void
}

export const NO_DRAFT: Draft = Object.freeze({ ids: Object.freeze([]), matched: 0 })

/**
 * A draft up to before the first of `stops`: the row before a stop already decides whether the text
 * ends there, so sending the stop itself would buy nothing.
 */
export function cutDraft(draft: Draft, most: number, stops: ReadonlySet<number>): Draft {
  const stop = draft.ids.findIndex((id) => stops.has(id))
  const length = Math.max(0, Math.min(most, stop < 0 ? draft.ids.length : stop))
  return length === draft.ids.length ? draft : { ...draft, ids: draft.ids.slice(0, length) }
}
