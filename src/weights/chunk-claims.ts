// What peers claim as the hashes of a file's chunks, and which claims are believed. Pure; knows no
// links. The rule: a peer that contradicts a hash known to be right is a liar and is ignored. Of
// the others, all that vouch for a chunk must agree; then it may come from any peer that has it.

export interface PeerClaims {
  readonly peer: string
  /** Hex of the SHA-256 that this peer vouches for; undefined when it vouches for none. */
  hash(index: number): string | undefined
}

export interface Verdict {
  /** Hex of the SHA-256 that a chunk must have. */
  readonly accepted: ReadonlyMap<number, string>
  readonly liars: ReadonlySet<string>
  /** The first chunk on which honest peers seem to differ: the peers behind each hash. */
  readonly dispute: { index: number; sides: ReadonlyMap<string, readonly string[]> } | undefined
  readonly disputed: number
  /** The fewest peers that vouch for any accepted chunk; 0 when none was accepted. */
  readonly vouchers: number
}

/** @param known hashes of chunks that are right whatever peers say */
export function judgeClaims(
  wanted: readonly number[],
  peers: readonly PeerClaims[],
  known: ReadonlyMap<number, string>
): Verdict {
  const liars = new Set<string>()
  for (const { peer, hash } of peers) {
    for (const [index, truth] of known) {
      const claim = hash(index)
      if (claim !== undefined && claim !== truth) liars.add(peer)
    }
  }
  const honest = peers.filter(({ peer }) => !liars.has(peer))
  const accepted = new Map<number, string>()
  let dispute: Verdict['dispute']
  let disputed = 0
  let vouchers = Infinity
  for (const index of wanted) {
    const sides = new Map<string, string[]>()
    for (const { peer, hash } of honest) {
      const claim = hash(index)
      if (claim === undefined) continue
      const side = sides.get(claim) ?? []
      sides.set(claim, side)
      side.push(peer)
    }
    const [only] = sides
    if (sides.size > 1) {
      disputed++
      dispute ??= { index, sides }
    } else if (only) {
      accepted.set(index, only[0])
      vouchers = Math.min(vouchers, only[1].length)
    }
  }
  return { accepted, liars, dispute, disputed, vouchers: vouchers === Infinity ? 0 : vouchers }
}
