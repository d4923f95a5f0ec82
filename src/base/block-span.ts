// One type for consecutive blocks of a model, used by all rooms. `end` is exclusive, as in Petals.

/** Blocks [start, end). */
export interface BlockSpan {
  readonly start: number
  readonly end: number
}
