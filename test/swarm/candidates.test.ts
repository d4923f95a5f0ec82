// Whoever announces most, or first, hides nobody.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../src/base/random.ts'
import { Candidates } from '../../src/swarm/candidates.ts'

const many = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${name}${i}`)

function read(candidates: Candidates, count: number): string[] {
  return Array.from({ length: count }, () => candidates.next()).filter((peer) => peer !== undefined)
}

test('a flood from one DHT node leaves every other node its turn', () => {
  const candidates = new Candidates(seededRandom(1), 'self')
  candidates.add(0, 'liar', many('fake', 1000))
  expect(read(candidates, 100).every((peer) => peer.startsWith('fake'))).toBe(true)
  candidates.add(0, 'honest', many('server', 5))
  expect(read(candidates, 5).sort()).toEqual(many('server', 5))
})

test('a flood at one cell leaves every other cell its turn', () => {
  const candidates = new Candidates(seededRandom(1), 'self')
  candidates.add(0, 'node', many('fake', 1000))
  candidates.add(4, 'node', many('server', 5))
  expect(read(candidates, 10).filter((peer) => peer.startsWith('server'))).toHaveLength(5)
})

test('of what one node names chance decides, and each is read once', () => {
  const candidates = new Candidates(seededRandom(1), 'self')
  expect(candidates.add(0, 'node', [...many('peer', 50), 'self', 'peer0'])).toBe(50)
  expect(candidates.add(4, 'other', many('peer', 51))).toBe(1)
  const all = read(candidates, 60)
  expect(all.toSorted()).toEqual(many('peer', 51).sort())
  expect(all.slice(0, 20)).not.toEqual(many('peer', 20))
  expect(candidates.next()).toBeUndefined()
})

test('remembers no more keys than it may', () => {
  const candidates = new Candidates(seededRandom(1), 'self')
  expect(candidates.add(0, 'liar', many('fake', 100_000))).toBeLessThan(2100)
  expect(candidates.full).toBe(true)
})
