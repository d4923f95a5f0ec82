// Runs a grammar over bytes. A state is all places where the text so far may stand, each with the
// calls that it will return from. States are made when they are first reached and kept: the same
// byte from the same state costs one look-up.
import { badInput } from '../../base/errors.ts'
import type { Grammar, Node } from './grammar.ts'

/** A state's number. */
export type State = number

export const DEAD: State = -1
const UNKNOWN = -2

/** A rule that leads to itself without reading anything has no end of places. */
const MOST_PLACES = 20_000
/** Beyond it the states are forgotten and made anew. */
const MOST_STATES = 50_000
const MOST_DEPTH = 512

/** What a place returns to, one call within the other. */
interface Frame {
  readonly id: number
  readonly to: Node
  readonly below: Frame | undefined
  readonly depth: number
}

interface Place {
  readonly node: Node
  readonly frame: Frame | undefined
}

interface StateFacts {
  /** Places from which a byte is read. */
  readonly places: readonly Place[]
  /** Whether the text may end here. */
  readonly canEnd: boolean
  /** By byte. */
  readonly next: Int32Array
}

export class Automaton {
  readonly #grammar: Grammar
  readonly #states: StateFacts[] = []
  readonly #byKey = new Map<string, State>()
  readonly #frames = new Map<string, Frame>()
  #generation = 0

  constructor(grammar: Grammar) {
    this.#grammar = grammar
  }

  /** Grows when states were forgotten: those of before mean nothing. */
  get generation(): number {
    return this.#generation
  }

  start(): State {
    const rule = this.#grammar.rules[this.#grammar.root]
    if (!rule) throw new TypeError('The grammar has no root')
    return this.#stateOf([{ node: rule.start, frame: undefined }])
  }

  canEnd(state: State): boolean {
    return this.#states[state]?.canEnd ?? false
  }

  /** Whether nothing can follow: the text can only end. */
  isAtEnd(state: State): boolean {
    return this.#states[state]?.places.length === 0
  }

  /** The state behind a byte; DEAD when the text may not go on so. */
  step(state: State, byte: number): State {
    const facts = this.#states[state]
    if (!facts) return DEAD
    const known = facts.next[byte] ?? DEAD
    if (known !== UNKNOWN) return known
    const next = this.#follow(facts.places, byte)
    facts.next[byte] = next
    return next
  }

  /** Forgets all states when there are too many; true when it did. Texts are then walked anew. */
  trim(): boolean {
    if (this.#states.length < MOST_STATES) return false
    this.#states.length = 0
    this.#byKey.clear()
    this.#frames.clear()
    this.#generation++
    return true
  }

  #follow(places: readonly Place[], byte: number): State {
    const reached: Place[] = []
    for (const { node, frame } of places) {
      for (const edge of this.#grammar.edges[node] ?? []) {
        if (edge.kind === 'bytes' && byte >= edge.first && byte <= edge.last) {
          reached.push({ node: edge.to, frame })
        }
      }
    }
    return reached.length === 0 ? DEAD : this.#stateOf(reached)
  }

  /** The state of these places and all that are reached from them without reading. */
  #stateOf(from: readonly Place[]): State {
    const { edges, rules, root } = this.#grammar
    const rootEnd = rules[root]?.end
    const seen = new Set<string>()
    const reading: Place[] = []
    let canEnd = false
    const open: Place[] = []
    const visit = (place: Place): void => {
      const key = `${place.node}/${place.frame?.id ?? 0}`
      if (seen.has(key)) return
      if (seen.size >= MOST_PLACES) {
        throw badInput('The schema or pattern leads back to itself without an end')
      }
      seen.add(key)
      open.push(place)
    }
    for (const place of from) visit(place)
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const { node, frame } = place
      if (frame === undefined && node === rootEnd) canEnd = true
      let reads = false
      for (const edge of edges[node] ?? []) {
        if (edge.kind === 'bytes') reads = true
        else if (edge.kind === 'free') visit({ node: edge.to, frame })
        else {
          const rule = rules[edge.rule]
          const inner = this.#frame(edge.to, frame)
          if (rule && inner) visit({ node: rule.start, frame: inner })
        }
      }
      if (frame && this.#isEndOfRule(node)) visit({ node: frame.to, frame: frame.below })
      if (reads) reading.push(place)
    }
    return this.#intern(reading, canEnd)
  }

  /** Nodes at which rules end. */
  #ends: ReadonlySet<Node> | undefined

  #isEndOfRule(node: Node): boolean {
    this.#ends ??= new Set(this.#grammar.rules.map(({ end }) => end))
    return this.#ends.has(node)
  }

  /** Undefined: too deep, so the text may not go on there. */
  #frame(to: Node, below: Frame | undefined): Frame | undefined {
    const depth = (below?.depth ?? 0) + 1
    if (depth > MOST_DEPTH) return undefined
    const key = `${to}/${below?.id ?? 0}`
    const known = this.#frames.get(key)
    if (known) return known
    const frame = { id: this.#frames.size + 1, to, below, depth }
    this.#frames.set(key, frame)
    return frame
  }

  #intern(places: readonly Place[], canEnd: boolean): State {
    const keys = places.map(({ node, frame }) => `${node}/${frame?.id ?? 0}`).sort()
    const key = `${canEnd ? 'end' : ''}:${keys.join()}`
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const state = this.#states.push({ places, canEnd, next: new Int32Array(256).fill(UNKNOWN) }) - 1
    this.#byKey.set(key, state)
    return state
  }
}
