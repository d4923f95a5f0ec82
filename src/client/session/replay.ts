// Which rows must run through which hops again before new ones can: a pure policy over what each
// server holds and what the client kept of each span's inputs. Knows no connections; pipeline.ts
// carries it out.

/** How far one hop's server and the client's record of its inputs are. */
export interface HopProgress {
  /** Positions that the server's KV holds. */
  readonly kv: number
  /** The client has this span's inputs at positions [from, length). */
  readonly from: number
  readonly length: number
  /** The client carries the output: a segment ends here. */
  readonly relay: boolean
}

/** Rows [from, to) through hops [i, j), where `to` is what the plan was made for. */
export interface ReplaySegment {
  readonly i: number
  readonly j: number
  readonly from: number
  /** The output is kept as the next hop's input. */
  readonly gather: boolean
}

/**
 * Segments that bring every hop's KV up to `to`, in order. If the client lacks a hop's inputs (its
 * server kept their KV from an earlier session), the hops before it run those rows again; the first
 * hop's inputs must be there.
 */
export function planReplay(hops: readonly HopProgress[], to: number): ReplaySegment[] {
  const need = hops.map(({ kv }) => Math.min(kv, to))
  const lacks = (k: number): boolean => {
    const [hop, from = to] = [hops[k], need[k]]
    return from < to && hop !== undefined && (hop.from > from || hop.length < to)
  }
  for (let k = hops.length - 1; k > 0; k--) {
    if (lacks(k)) need[k - 1] = Math.min(need[k - 1] ?? to, need[k] ?? to)
  }
  const begins = hops.map((hop) => hop.from)
  const segments: ReplaySegment[] = []
  for (let i = 0; i < hops.length;) {
    let from = need[i] ?? to
    let j = i + 1
    if (from < to) {
      for (; j < hops.length && !hops[j - 1]?.relay; j++) {
        const wider = Math.min(from, need[j] ?? to)
        if ((need[j] ?? to) >= to || wider < (begins[i] ?? 0)) break
        from = wider
      }
      const gather = lacks(j)
      if (gather) begins[j] = from
      segments.push({ i, j, from, gather })
    }
    i = j
  }
  return segments
}

/** Where new rows [start, end) may begin: what the last server has already need not be sent. */
export function beginOf(
  hops: readonly HopProgress[],
  rows: { readonly start: number; readonly end: number; readonly answerRows: number }
): number {
  const { start, end, answerRows } = rows
  return Math.max(start, Math.min(hops.at(-1)?.kv ?? 0, end - answerRows))
}
