// The hashes that one peer claims for chunks, requested in runs: (run.count, 32) bytes each, zeros
// where it vouches for none. Knows no links.
import { toHex } from '../base/bytes.ts'
import { protocolError } from '../base/errors.ts'
import { LIMITS } from '../wire/protocol.ts'
import type { Holding } from '../wire/types.ts'

const HASH_BYTES = 32
/** Requesting a few more hashes costs less than one more request. */
const MOST_GAP = 64

export interface Run {
  readonly start: number
  readonly count: number
}

/** Runs that cover all of `indexes`, each of at most `most` chunks. */
export function runsOf(indexes: readonly number[], most: number = LIMITS.wantHashes): Run[] {
  const runs: { start: number; count: number }[] = []
  for (const index of indexes.toSorted((a, b) => a - b)) {
    const open = runs.at(-1)
    const end = open ? open.start + open.count : -Infinity
    if (open && index < end) continue
    if (open && index - end <= MOST_GAP && index - open.start < most) {
      open.count = index - open.start + 1
    } else runs.push({ start: index, count: 1 })
  }
  return runs
}

export class HashClaims {
  readonly #hashes = new Map<number, string>()

  /** @throws AppError as `ask` fails, PROTOCOL for an answer of another length */
  static async ask(
    about: readonly number[],
    holding: Holding,
    ask: (start: number, count: number) => Promise<Uint8Array>
  ): Promise<HashClaims> {
    const claims = new HashClaims()
    const isClaimed = (index: number): boolean =>
      holding.isWhole || ((holding.vouched[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
    for (const { start, count } of runsOf(about.filter(isClaimed))) {
      const bytes = await ask(start, count)
      if (bytes.byteLength !== count * HASH_BYTES) {
        throw protocolError('The peer gives other than the hashes it was asked for')
      }
      for (let i = 0; i < count; i++) {
        const hash = bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)
        if (hash.some((byte) => byte !== 0)) claims.#hashes.set(start + i, toHex(hash))
      }
    }
    return claims
  }

  hash(index: number): string | undefined {
    return this.#hashes.get(index)
  }
}
