// All tokens of a vocabulary by their bytes, in the order of a walk through a tree: a byte that may
// not follow skips all tokens that begin so.
import { DEAD, type Automaton, type State } from './automaton.ts'

export interface TokenTrie {
  readonly vocabSize: number
  /** Bytes of a token; undefined: it stands for no text, and no text may have it. */
  bytesOf(id: number): Uint8Array | undefined
  /** Calls back with each token whose bytes may follow in `state`. */
  walk(automaton: Automaton, state: State, onid: (id: number) => void): void
}

/** @param tokens by id; undefined for those that stand for no text */
export function createTokenTrie(tokens: readonly (Uint8Array | undefined)[]): TokenTrie {
  const sorted = tokens
    .flatMap((bytes, id) => (bytes && bytes.length > 0 ? [{ bytes, id }] : []))
    .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  const total = sorted.reduce((sum, { bytes }) => sum + bytes.length, 0)
  // One entry for each node, parents before their children.
  const byte = new Uint8Array(total)
  const depth = new Uint16Array(total)
  /** The entry behind all that begin with this one. */
  const skip = new Uint32Array(total)
  /** Ids of an entry: idsAt[entry] to idsAt[entry + 1]. */
  const idsAt = new Uint32Array(total + 1)
  const ids = new Uint32Array(sorted.length)
  let entries = 0
  let placed = 0
  const path: number[] = []
  let before = new Uint8Array(0)
  const close = (to: number): void => {
    while (path.length > to) skip[path.pop() ?? 0] = entries
  }
  for (const { bytes, id } of sorted) {
    let shared = 0
    while (shared < before.length && shared < bytes.length && before[shared] === bytes[shared]) {
      shared++
    }
    close(shared)
    for (let at = shared; at < bytes.length; at++) {
      byte[entries] = bytes[at] ?? 0
      depth[entries] = at
      idsAt[entries] = placed
      path.push(entries)
      entries++
    }
    ids[placed++] = id
    idsAt[entries] = placed
    before = new Uint8Array(bytes)
  }
  close(0)
  const longest = sorted.reduce((most, { bytes }) => Math.max(most, bytes.length), 0)
  return {
    vocabSize: tokens.length,
    bytesOf: (id) => tokens[id],
    walk(automaton, from, onid) {
      const states = new Int32Array(longest + 1)
      states[0] = from
      let entry = 0
      while (entry < entries) {
        const at = depth[entry] ?? 0
        const next = automaton.step(states[at] ?? DEAD, byte[entry] ?? 0)
        if (next === DEAD) {
          entry = skip[entry] ?? entries
          continue
        }
        states[at + 1] = next
        const end = idsAt[entry + 1] ?? placed
        for (let i = idsAt[entry] ?? 0; i < end; i++) onid(ids[i] ?? 0)
        entry++
      }
    }
  }
}
