// Which kept prefixes go when room is needed, and whether a session that asks for one gets it or a
// copy: pure policies of a server. Know no engine; prefix-store.ts acts on them.

/** A kept prefix as the policy sees it. */
export interface Kept {
  /** Hex key of the peer whose session it was. */
  readonly owner: string
  /** Its address, or the key where that is unknown. Default: the key. */
  readonly origin?: string
  /** Tokens that its memory would hold: caches grow in steps. */
  readonly tokens: number
  /** Monotonic ms. */
  readonly usedAt: number
}

export interface KeepLimits {
  /** Tokens that all kept prefixes together may hold. */
  readonly tokens: number
  readonly entries: number
  /** Of one peer: a key is cheap to make, so this only keeps one process from filling a server. */
  readonly entriesPerOwner: number
  /** One that nobody has asked for this long goes, ms. */
  readonly ttlMs: number
}

/** A shorter prefix costs less to compute again than its place is worth to others. */
export const LEAST_PREFIX = 16

/**
 * What must go so that the rest keeps within `limits` and within `roomTokens`, which live sessions
 * left: what is too old; then, of the address that has most and of its peer that has most, by age
 * and size.
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

/** Entries of whoever has most, or at least half of that: nearly equal ones differ by age. */
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
 * Least worth first. Old ones go before young ones; of about the same age (within a factor of two)
 * the largest, since that makes the same room at the cost of fewer.
 */
function worth(a: Kept, b: Kept, now: number): number {
  const age = (one: Kept): number => Math.floor(Math.log2(Math.max(1, now - one.usedAt)))
  return age(b) - age(a) || b.tokens - a.tokens || a.usedAt - b.usedAt
}

/** Of what is kept beyond the tokens asked for, this part of them is lost without regret. */
const LOSS = 1 / 8

/**
 * Whether to hand out what is kept or a copy of its beginning. A conversation that goes on takes
 * its own; a new one that only begins like it gets a copy (memory copies a token some 200 times as
 * fast as a prompt makes it), so that both can go on, and a short one does not sit in a long one's
 * memory. What is published stays for others.
 */
export function handOut(
  held: { readonly length: number; readonly published: boolean },
  askedLength: number
): 'move' | 'copy' {
  const lost = held.length - askedLength
  return held.published || lost > askedLength * LOSS ? 'copy' : 'move'
}
