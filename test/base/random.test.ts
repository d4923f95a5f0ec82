// Seeded randomness: the same on every machine, uniform, and different for different seeds.
import { expect, test } from 'bun:test'
import { freshSeed, seededRandom } from '../../src/base/random.ts'

/** The same generator after its authors' description, in BigInt and without tricks. */
function reference(seed: bigint): () => number {
  const mask32 = 0xffffffffn
  const rotate = (x: bigint, k: bigint): bigint => ((x << k) | (x >> (32n - k))) & mask32
  let mix = seed
  const state = [0, 0, 0, 0].map(() => {
    mix = (mix + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn
    let z = mix
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn
    return (z ^ (z >> 31n)) & mask32
  })
  const u32 = (): bigint => {
    const result = (rotate((state[1]! * 5n) & mask32, 7n) * 9n) & mask32
    const t = (state[1]! << 9n) & mask32
    state[2]! ^= state[0]!
    state[3]! ^= state[1]!
    state[1]! ^= state[2]!
    state[0]! ^= state[3]!
    state[2]! ^= t
    state[3] = rotate(state[3]!, 11n)
    return result
  }
  return () => Number(((u32() >> 5n) << 26n) | (u32() >> 6n)) / 2 ** 53
}

test.each([0n, 1n, 42n, 2n ** 48n - 1n, 2n ** 63n + 12_345n])(
  'seededRandom(%p) is xoshiro128** over splitmix64',
  (seed) => {
    const random = seededRandom(seed)
    const expected = reference(seed)
    for (let i = 0; i < 200; i++) expect(random.next()).toBe(expected())
  }
)

test('the first numbers of seed 42 are pinned: another generator would change users’ texts', () => {
  const random = seededRandom(42)
  expect([random.next(), random.next(), random.next()]).toEqual([
    0.047588686839076244, 0.9363952408164624, 0.6241097402280645
  ])
})

test('number and bigint seeds agree, and neighbours differ', () => {
  expect(seededRandom(7).next()).toBe(seededRandom(7n).next())
  expect(seededRandom(7).next()).not.toBe(seededRandom(8).next())
})

test('next() is uniform: each of 16 bins of 160,000 draws holds a sixteenth within 3 %', () => {
  const random = seededRandom(1)
  const bins = Array.from({ length: 16 }, () => 0)
  for (let i = 0; i < 160_000; i++) {
    const value = random.next()
    expect(value >= 0 && value < 1).toBe(true)
    bins[Math.floor(value * 16)]!++
  }
  for (const count of bins) expect(Math.abs(count - 10_000)).toBeLessThan(300)
})

test('below() reaches every integer under its bound and no other', () => {
  const random = seededRandom(2)
  const seen = new Set(Array.from({ length: 1000 }, () => random.below(5)))
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4])
})

test('freshSeed() gives integers below 2^48 that differ', () => {
  const seeds = Array.from({ length: 50 }, freshSeed)
  expect(seeds.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 48)).toBe(true)
  expect(new Set(seeds).size).toBe(50)
})
