// A language of texts as networks of bytes: each rule is a graph whose edges read a byte of a
// range, call another rule, or read nothing. Built by json-schema.ts and regex.ts, run by
// automaton.ts.
import { badInput } from '../../base/errors.ts'

/** A place in a rule. */
export type Node = number

/** Bytes first to last, both included. */
interface ByteEdge {
  readonly kind: 'bytes'
  readonly first: number
  readonly last: number
  readonly to: Node
}

interface CallEdge {
  readonly kind: 'call'
  readonly rule: number
  readonly to: Node
}

interface FreeEdge {
  readonly kind: 'free'
  readonly to: Node
}

export type Edge = ByteEdge | CallEdge | FreeEdge

export interface Rule {
  readonly start: Node
  readonly end: Node
}

/** A language, as the automaton reads it. */
export interface Grammar {
  readonly edges: readonly (readonly Edge[])[]
  readonly rules: readonly Rule[]
  /** The rule that whole texts follow. */
  readonly root: number
}

/** A part of a rule, which is read from its start to its end. */
export interface Fragment {
  readonly start: Node
  readonly end: Node
}

/** Of one grammar. A schema may be hostile: what would grow over it is refused. */
const MOST_NODES = 100_000

/** Builds a grammar from fragments; each may be used in one place only. */
export class GrammarBuilder {
  readonly #edges: Edge[][] = []
  readonly #rules: (Rule | undefined)[] = []

  /** @throws AppError BAD_INPUT when the grammar becomes too large */
  node(): Node {
    if (this.#edges.length >= MOST_NODES) {
      throw badInput('The schema, pattern or list of choices is too large', {
        advice: 'Lower its minLength, maxLength, minItems and maxItems, or make it smaller'
      })
    }
    return this.#edges.push([]) - 1
  }

  edge(from: Node, edge: Edge): void {
    this.#edges[from]?.push(edge)
  }

  free(from: Node, to: Node): void {
    this.edge(from, { kind: 'free', to })
  }

  /** The empty text. */
  empty(): Fragment {
    const node = this.node()
    return { start: node, end: node }
  }

  /** One byte of a range. */
  range(first: number, last: number): Fragment {
    const [start, end] = [this.node(), this.node()]
    this.edge(start, { kind: 'bytes', first, last, to: end })
    return { start, end }
  }

  /** Exactly this text. */
  text(text: string): Fragment {
    const start = this.node()
    let end = start
    for (const byte of Buffer.from(text, 'utf8')) {
      const next = this.node()
      this.edge(end, { kind: 'bytes', first: byte, last: byte, to: next })
      end = next
    }
    return { start, end }
  }

  /** Any one of these texts. Those that begin alike share their beginning. */
  texts(texts: readonly string[]): Fragment {
    const [start, end] = [this.node(), this.node()]
    const children = new Map<Node, Map<number, Node>>()
    for (const text of new Set(texts)) {
      let at = start
      for (const byte of Buffer.from(text, 'utf8')) {
        const known = children.get(at) ?? new Map<number, Node>()
        children.set(at, known)
        const next = known.get(byte) ?? this.node()
        if (!known.has(byte)) this.edge(at, { kind: 'bytes', first: byte, last: byte, to: next })
        known.set(byte, next)
        at = next
      }
      this.free(at, end)
    }
    return { start, end }
  }

  sequence(...parts: readonly Fragment[]): Fragment {
    const [first] = parts
    if (first === undefined) return this.empty()
    let { end } = first
    for (const part of parts.slice(1)) {
      this.free(end, part.start)
      ;({ end } = part)
    }
    return { start: first.start, end }
  }

  /** Any one of the parts, of which there is at least one. */
  choice(parts: readonly Fragment[]): Fragment {
    const [only, ...others] = parts
    if (only !== undefined && others.length === 0) return only
    const [start, end] = [this.node(), this.node()]
    for (const part of parts) {
      this.free(start, part.start)
      this.free(part.end, end)
    }
    return { start, end }
  }

  optional(part: Fragment): Fragment {
    return this.choice([part, this.empty()])
  }

  /** Any number of the part, none too. */
  star(part: Fragment): Fragment {
    const hub = this.node()
    this.free(hub, part.start)
    this.free(part.end, hub)
    return { start: hub, end: hub }
  }

  /** From `low` to `high` of what `make` makes; Infinity for no upper bound. */
  repeat(make: () => Fragment, low: number, high: number): Fragment {
    const parts = Array.from({ length: low }, make)
    if (high === Infinity) return this.sequence(...parts, this.star(make()))
    let rest = this.empty()
    for (let i = low; i < high; i++) rest = this.optional(this.sequence(make(), rest))
    return this.sequence(...parts, rest)
  }

  /** A rule to be defined later, so that it can call itself. */
  declare(): number {
    return this.#rules.push(undefined) - 1
  }

  define(rule: number, { start, end }: Fragment): void {
    this.#rules[rule] = { start, end }
  }

  /** What a rule reads, by calling it. */
  call(rule: number): Fragment {
    const [start, end] = [this.node(), this.node()]
    this.edge(start, { kind: 'call', rule, to: end })
    return { start, end }
  }

  finish(root: Fragment): Grammar {
    const rule = this.declare()
    this.define(rule, root)
    const rules = this.#rules.map((one) => {
      if (one === undefined) throw new TypeError('A rule was declared and not defined')
      return one
    })
    return withoutDeadEnds({ edges: this.#edges, rules, root: rule })
  }
}

/**
 * The grammar without what leads to no whole text: a rule that needs itself, and all that needs
 * such a rule.
 * @throws AppError BAD_INPUT when nothing is left
 */
function withoutDeadEnds(grammar: Grammar): Grammar {
  const { edges, rules, root } = grammar
  const into: { from: Node; edge: Edge }[][] = edges.map(() => [])
  for (const [from, list] of edges.entries()) {
    for (const edge of list) into[edge.to]?.push({ from, edge })
  }
  /** Nodes from which their rule's end can be reached. */
  const alive = new Set<Node>()
  const productive = new Set<number>()
  /** Nodes whose call waits for a rule to become productive. */
  const waiting = new Map<number, Node[]>()
  const starts = new Map<Node, number[]>()
  for (const [rule, { start }] of rules.entries()) {
    starts.set(start, [...(starts.get(start) ?? []), rule])
  }
  const open: Node[] = []
  const enliven = (node: Node): void => {
    if (alive.has(node)) return
    alive.add(node)
    open.push(node)
  }
  for (const { end } of rules) enliven(end)
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const rule of starts.get(node) ?? []) {
      productive.add(rule)
      for (const from of waiting.get(rule) ?? []) enliven(from)
    }
    for (const { from, edge } of into[node] ?? []) {
      if (edge.kind !== 'call' || productive.has(edge.rule)) enliven(from)
      else waiting.set(edge.rule, [...(waiting.get(edge.rule) ?? []), from])
    }
  }
  if (!productive.has(root)) {
    throw badInput('The schema or pattern permits no text: it leads back to itself without an end')
  }
  const kept = edges.map((list) =>
    list.filter((edge) => alive.has(edge.to) && (edge.kind !== 'call' || productive.has(edge.rule)))
  )
  return { edges: kept, rules, root }
}
