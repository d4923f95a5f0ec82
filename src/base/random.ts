// Seeded random numbers for sampling, jitter and tests. Never for secrets.

export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  next(): number
  /** Uniform integer in [0, bound). */
  below(bound: number): number
}

/** xoshiro128** seeded by splitmix64: the same seed gives the same numbers on every machine. */
export function seededRandom(seed: number | bigint): Random {
  const state = new Uint32Array(4)
  let mix = BigInt.asUintN(64, BigInt(seed))
  for (let i = 0; i < 4; i++) {
    mix = BigInt.asUintN(64, mix + 0x9e3779b97f4a7c15n)
    let z = mix
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n)
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn)
    state[i] = Number((z ^ (z >> 31n)) & 0xffffffffn)
  }
  const u32 = (): number => {
    const [a = 0, b = 0, c = 0, d = 0] = state
    const product = Math.imul(b, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const shifted = b << 9
    const c1 = c ^ a
    const d1 = d ^ b
    state[1] = b ^ c1
    state[0] = a ^ d1
    state[2] = c1 ^ shifted
    state[3] = (d1 << 11) | (d1 >>> 21)
    return result
  }
  const next = (): number => ((u32() >>> 5) * 67108864 + (u32() >>> 6)) / 9007199254740992
  return { next, below: (bound) => Math.floor(next() * bound) }
}

/** A random seed below 2^48, from the system's randomness. */
export function freshSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2))
  return (high & 0xffff) * 2 ** 32 + low
}
