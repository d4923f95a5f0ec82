// What a forward() through all blocks is asked for, and what it tells.

/** What one server reported of a step. */
export interface HopTrace {
  readonly peer: string
  readonly blocks: number
  readonly computeMs: number
  readonly queueMs: number
}

export interface ForwardOptions {
  /** Last rows wanted. Default: all. */
  answerRows?: number
  /** The rows' token ids: servers may have met them before. */
  ids?: readonly number[]
  /** Called with rows that have gone through all blocks, as they do. */
  onrows?: ((rows: number) => void) | undefined
  signal?: AbortSignal | undefined
}

/** What one forward() took. */
export interface ForwardReport {
  /** Rows that need not be run, since every server had kept what came of them. */
  readonly reused: number
  /** What each hop reported, in the order of answers. */
  readonly trace: readonly HopTrace[]
  /** Writing the rows for the wire, and reading the answer, ms. */
  readonly encodeMs: number
  readonly decodeMs: number
  /** Until every block had an open session, ms. */
  readonly coverMs: number
}

export interface Forwarded {
  /** Hidden states (answerRows, hiddenSize). */
  readonly output: Float32Array
  readonly report: ForwardReport
}
