// The interface of what guesses the next tokens, so that one trip through the swarm can check
// several. Knows no swarm: a guess is only compared with what the model itself draws.

export interface Draft {
  /** Guessed ids, in order. */
  readonly ids: readonly number[]
  /**
   * How many ids before the guess support it; each accepted id supports the rest by one more. The
   * policy learns acceptance rates by this number, so any scale will do.
   */
  readonly matched: number
}

export interface Drafter {
  /** Guesses of the same name and the same `matched` are assumed to be equally often right. */
  readonly name: string
  /**
   * Time of one guess, ms. 0: almost free, so that guesses may be made only to see whether they are
   * right.
   */
  readonly guessMs: number
  /** A text begins with `ids`; it may share a prefix with the previous one. */
  begin(ids: readonly number[]): void
  /**
   * Guesses at most `most` ids after `ids`, which continue the text that was begun or drafted for.
   */
  draft(
    ids: readonly number[],
    most: number,
    signal?: AbortSignal | undefined
  ): Draft | Promise<Draft>
  /**
   * Called after every trip with its duration, from embedding the rows to having their logits, ms.
   */
  ontrip?(ms: number): void
}

export const NO_DRAFT: Draft = Object.freeze({ ids: Object.freeze([]), matched: 0 })

/**
 * The draft up to the first of `stops`, exclusively: the row before a stop already decides whether
 * the text ends there, so sending the stop itself gains nothing.
 */
export function cutDraft(draft: Draft, most: number, stops: ReadonlySet<number>): Draft {
  const stop = draft.ids.findIndex((id) => stops.has(id))
  const length = Math.max(0, Math.min(most, stop < 0 ? draft.ids.length : stop))
  return length === draft.ids.length ? draft : { ...draft, ids: draft.ids.slice(0, length) }
}
