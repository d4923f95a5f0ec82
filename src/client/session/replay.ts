// Which rows run through which hops again before new ones can: a pure policy over what each server
// holds and what the client kept of what each span was sent.
// Knows no connections; session.ts carries it out.

/** How far one hop's server and the client's record of its inputs are. */
export interface HopProgress {
  /** Positions that the server's KV holds. */
  readonly kv: number
  /** The client has what this span was sent at positions [from, length). */
  readonly from: number
  readonly length: number
  /** The client carries what comes out: a segment ends here. */
  readonly relay: boolean
}

/** Rows [from, to) through hops [i, j), where `to` is what the plan was made for. */
export interface ReplayLeg {
  readonly i: number
  readonly j: number
  readonly from: number
  /** What comes out is kept as the next hop's input. */
  readonly gather: boolean
}

/**
 * Legs that bring every hop's KV up to `to`, in order. A hop whose inputs the client does not have
 * (its server kept them from an earlier session) gets them from the hops before it, which run the
 * rows again; the first hop's inputs must be there.
 */
export function planReplay(stations: readonly HopProgress[], to: number): ReplayLeg[] {
  const need = stations.map(({ kv }) => Math.min(kv, to))
  const lacks = (k: number): boolean => {
    const [station, from = to] = [stations[k], need[k]]
    return from < to && station !== undefined && (station.from > from || station.length < to)
  }
  for (let k = stations.length - 1; k > 0; k--) {
    if (lacks(k)) need[k - 1] = Math.min(need[k - 1] ?? to, need[k] ?? to)
  }
  const begins = stations.map((station) => station.from)
  const legs: ReplayLeg[] = []
  for (let i = 0; i < stations.length;) {
    let from = need[i] ?? to
    let j = i + 1
    if (from < to) {
      for (; j < stations.length && !stations[j - 1]?.relay; j++) {
        const wider = Math.min(from, need[j] ?? to)
        if ((need[j] ?? to) >= to || wider < (begins[i] ?? 0)) break
        from = wider
      }
      const gather = lacks(j)
      if (gather) begins[j] = from
      legs.push({ i, j, from, gather })
    }
    i = j
  }
  return legs
}

/** Where new rows [start, end) may begin: what the last server holds of them need not be sent. */
export function beginOf(
  stations: readonly HopProgress[],
  rows: { readonly start: number; readonly end: number; readonly answerRows: number }
): number {
  const { start, end, answerRows } = rows
  return Math.max(start, Math.min(stations.at(-1)?.kv ?? 0, end - answerRows))
}
