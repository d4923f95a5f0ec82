// Which kept prefixes are freed when memory is needed, and whether a session gets a kept prefix
// itself or a copy: pure policies of a server. Know no engine; prefix-store.ts carries them out.

/** A kept prefix as the policy sees it. */
export interface Kept {
  /** Key of the peer whose session it was, hex. */
  readonly owner: string
  /** Address of that peer, or its key if that is unknown. Default: the key. */
  readonly origin?: string
  /** Tokens that its memory could hold: more than its length, because caches grow in steps. */
  readonly tokens: number
  /** Monotonic ms. */
  readonly usedAt: number
}

export interface KeepLimits {
  /** Tokens that all kept prefixes together may hold. */
  readonly tokens: number
  readonly entries: number
  /**
   * Most prefixes of one peer. Keys are cheap to make, so this only keeps one process from filling
   * a server.
   */
  readonly entriesPerOwner: number
  /** A prefix that nobody used for this long is freed, ms. */
  readonly ttlMs: number
}

/** Computing a shorter prefix again costs less than its place is worth to others. */
export const LEAST_PREFIX = 16

/**
 * What must be freed so that the rest stays within `limits` and within `roomTokens`, which live
 * sessions leave: first what is too old; then, of the address that has most and there of the peer
 * that has most, by age and size.
 */
export function evict<K extends Kept>(
  entries: readonly K[],
  options: { limits: KeepLimits; roomTokens: number; now: number }
): K[] {
  const { limits, now } = options
  const room = Math.min(limits.tokens, options.roomTokens)
  const gone = entries.filter((one) => now - one.usedAt >= limits.ttlMs)
  let rest = entries
    .filter((one) => now - one.usedAt < limits.ttlMs)
    .sort((a, b) => worth(a, b, now))
  let tokens = rest.reduce((sum, one) => sum + one.tokens, 0)
  const take = (one: K | undefined): void => {
    if (!one) return
    tokens -= one.tokens
    rest = rest.filter((other) => other !== one)
    gone.push(one)
  }
  const ofOwner = sums(rest, ownerOf, () => 1)
  for (const one of rest) {
    const own = ofOwner.get(one.owner) ?? 0
    if (own <= limits.entriesPerOwner) continue
    ofOwner.set(one.owner, own - 1)
    take(one)
  }
  for (;;) {
    const isOver = tokens > room
    if (rest.length === 0 || (!isOver && rest.length <= limits.entries)) return gone
    const size = (one: K): number => (isOver ? one.tokens : 1)
    const ofOrigin = ofMost(rest, ({ origin, owner }) => origin ?? owner, size)
    take(ofMost(ofOrigin, ownerOf, size)[0])
  }
}

function ownerOf({ owner }: Kept): string {
  return owner
}

/**
 * Entries of those that have most, or at least half as much: between nearly equal ones, age
 * decides.
 */
function ofMost<K>(
  entries: readonly K[],
  of: (entry: K) => string,
  size: (entry: K) => number
): readonly K[] {
  const held = sums(entries, of, size)
  const most = Math.max(...held.values())
  return entries.filter((one) => 2 * (held.get(of(one)) ?? 0) >= most)
}

function sums<K>(
  entries: readonly K[],
  of: (entry: K) => string,
  size: (entry: K) => number
): Map<string, number> {
  const all = new Map<string, number>()
  for (const one of entries) all.set(of(one), (all.get(of(one)) ?? 0) + size(one))
  return all
}

/**
 * Sorts the least valuable first. Old ones go before young ones. If the ages are within a factor of
 * two the larger one goes, because then fewer must go.
 */
function worth(a: Kept, b: Kept, now: number): number {
  const age = (one: Kept): number => Math.floor(Math.log2(Math.max(1, now - one.usedAt)))
  return age(b) - age(a) || b.tokens - a.tokens || a.usedAt - b.usedAt
}

/**
 * A kept session is cut and handed out itself if it loses at most this share of the tokens asked
 * for.
 */
const LOSS = 1 / 8

/**
 * Whether to hand out a kept session or a copy of its beginning. A conversation that continues gets
 * its own session. One that only begins the same way gets a copy, so that both can continue and a
 * short session does not occupy the memory of a long one. Copying a token is some 200 times as fast
 * as computing it. A shared prefix stays for others.
 */
export function handOut(
  held: { readonly length: number; readonly published: boolean },
  askedLength: number
): 'move' | 'copy' {
  const lost = held.length - askedLength
  return held.published || lost > askedLength * LOSS ? 'copy' : 'move'
}
