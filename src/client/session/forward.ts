// Options and result of a forward() through all blocks.

/** What one server reported of a step. */
export interface HopTrace {
  readonly peer: string
  readonly blocks: number
  readonly computeMs: number
  readonly queueMs: number
}

export interface ForwardOptions {
  /** How many of the last rows are wanted. Default: all. */
  answerRows?: number
  /** Token ids of the rows: servers may have kept their KV. */
  ids?: readonly number[]
  /** Called with the number of rows that have passed all blocks, as they do. */
  onrows?: ((rows: number) => void) | undefined
  signal?: AbortSignal | undefined
}

/** What one forward() took. */
export interface ForwardReport {
  /** Rows that were not run because every server had kept their KV. */
  readonly reused: number
  /** What each hop reported, in the order of answers. */
  readonly trace: readonly HopTrace[]
  /** Time to encode the rows and decode the answer, ms. */
  readonly encodeMs: number
  readonly decodeMs: number
  /** Time until every block had an open session, ms. */
  readonly coverMs: number
}

export interface Forwarded {
  /** Hidden states (answerRows, hiddenSize). */
  readonly output: Float32Array
  readonly report: ForwardReport
}
