// Runs a grammar over bytes. A state is all places where the text so far may stand, each with the
// calls that it will return from. States are made when they are first reached and kept: the same
// byte from the same state costs one look-up.
import { badInput } from '../../base/errors.ts'
import type { Grammar, Node } from './grammar.ts'

/** A state's number. */
export type State = number

export const DEAD: State = -1
const UNKNOWN = -2

/** Beyond it the states are forgotten and made anew: places of all states, and so much for each. */
const MOST_SIZE = 1_000_000
const STATE_SIZE = 64
const MOST_DEPTH = 512
/** A place's key is its node times this and the number of its calls. */
const FRAMES = 2 ** 30

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

interface Following {
  readonly reached: readonly Place[]
  readonly first: number
  readonly last: number
}

export class Automaton {
  readonly #grammar: Grammar
  readonly #states: StateFacts[] = []
  readonly #byKey = new Map<string, State>()
  readonly #frames = new Map<number, Frame>()
  #generation = 0
  #size = 0
  #work = 0
  #mostWork = Infinity

  constructor(grammar: Grammar) {
    this.#grammar = grammar
  }

  /**
   * Places looked at so far. A hostile grammar stands at thousands of places behind every byte, so
   * the caller says how many more there may be.
   */
  get work(): number {
    return this.#work
  }

  /** From here on, step() and start() throw once they have looked at `more` places. */
  allow(more: number): void {
    this.#mostWork = this.#work + more
  }

  /** Grows when states were forgotten: those of before mean nothing. */
  get generation(): number {
    return this.#generation
  }

  /** @throws AppError BAD_INPUT when it takes more work than is allowed, as step() does */
  start(): State {
    const rule = this.#grammar.rules[this.#grammar.root]
    if (!rule) throw new TypeError('The grammar has no root')
    return this.#stateOf([{ node: rule.start, frame: undefined }])
  }

  canEnd(state: State): boolean {
    return this.#states[state]?.canEnd ?? false
  }

  /** The state behind a byte; DEAD when the text may not go on so. */
  step(state: State, byte: number): State {
    const facts = this.#states[state]
    if (!facts) return DEAD
    const known = facts.next[byte] ?? DEAD
    if (known !== UNKNOWN) return known
    const { reached, first, last } = this.#follow(facts.places, byte)
    const next = reached.length === 0 ? DEAD : this.#stateOf(reached)
    facts.next.fill(next, first, last + 1)
    return next
  }

  /** Forgets all states when there are too many; true when it did. Texts are then walked anew. */
  trim(): boolean {
    if (this.#size < MOST_SIZE) return false
    this.#size = 0
    this.#states.length = 0
    this.#byKey.clear()
    this.#frames.clear()
    this.#generation++
    return true
  }

  /** Places behind a byte, and the first and last byte that lead to the same ones. */
  #follow(places: readonly Place[], byte: number): Following {
    const reached: Place[] = []
    let [first, last] = [0, 255]
    for (const { node, frame } of places) {
      for (const edge of this.#grammar.edges[node] ?? []) {
        this.#spend(1)
        if (edge.kind !== 'bytes') continue
        if (byte < edge.first) last = Math.min(last, edge.first - 1)
        else if (byte > edge.last) first = Math.max(first, edge.last + 1)
        else {
          first = Math.max(first, edge.first)
          last = Math.min(last, edge.last)
          reached.push({ node: edge.to, frame })
        }
      }
    }
    return { reached, first, last }
  }

  /** @throws AppError BAD_INPUT when all that was allowed is spent */
  #spend(places: number): void {
    this.#work += places
    if (this.#work <= this.#mostWork) return
    throw badInput('The schema or pattern can be read in too many ways at once', {
      hint: 'Repeat no parts that may be empty or begin alike, and make it smaller'
    })
  }

  /** The state of these places and all that are reached from them without reading. */
  #stateOf(from: readonly Place[]): State {
    const { edges, rules, root } = this.#grammar
    const rootEnd = rules[root]?.end
    const seen = new Set<number>()
    const reading: Place[] = []
    let canEnd = false
    const open: Place[] = []
    const visit = (place: Place): void => {
      const key = keyOf(place)
      this.#spend(1)
      if (seen.has(key)) return
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
    const key = keyOf({ node: to, frame: below })
    const known = this.#frames.get(key)
    if (known) return known
    const frame = { id: this.#frames.size + 1, to, below, depth }
    this.#size++
    this.#frames.set(key, frame)
    return frame
  }

  #intern(places: readonly Place[], canEnd: boolean): State {
    this.#spend(places.length)
    const keys = Float64Array.from(places, keyOf).sort()
    const key = `${canEnd ? 'end' : ''}:${keys.join()}`
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    this.#spend(STATE_SIZE)
    this.#size += STATE_SIZE + places.length
    const state = this.#states.push({ places, canEnd, next: new Int32Array(256).fill(UNKNOWN) }) - 1
    this.#byKey.set(key, state)
    return state
  }
}

/** One number for each place; nodes and frames are far fewer than would make two the same. */
function keyOf({ node, frame }: Place): number {
  return node * FRAMES + (frame?.id ?? 0)
}
