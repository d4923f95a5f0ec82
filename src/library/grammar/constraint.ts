// What an answer must look like, held by letting only those ids through that keep it so. Works on
// logits before an id is drawn, so guesses that do not fit are simply not drawn.
import { badInput } from '../../base/errors.ts'
import type { LogitsProcessor } from '../../client/text/logits.ts'
import { addedTokens } from '../../model/text/library.ts'
import { tokenBytes } from './token-bytes.ts'
import type { TokenizerSpec } from '../../model/types.ts'
import { Automaton, DEAD, type State } from './automaton.ts'
import { characters } from './code-points.ts'
import { GrammarBuilder, type Fragment } from './grammar.ts'
import { JsonParts } from './json-parts.ts'
import { schemaFragment } from './json-schema.ts'
import { regexFragment } from './regex.ts'
import { createTokenTrie, type TokenTrie } from './token-trie.ts'

/** What an answer must be. */
export type Constraint =
  /** Any JSON object. */
  | { readonly kind: 'json' }
  | { readonly kind: 'schema'; readonly schema: unknown }
  /** A regular expression that matches all of it. */
  | { readonly kind: 'regex'; readonly pattern: string }
  /** One of these texts. */
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  /** Exactly this text; a special token where the vocabulary has one for it. */
  | { readonly kind: 'mark'; readonly text: string }
  /** One behind the other. */
  | { readonly kind: 'sequence'; readonly parts: readonly Constraint[] }
  | { readonly kind: 'any'; readonly parts: readonly Constraint[] }

const MOST_CHOICES = 10_000
/** Programs ask with the same schema again and again. */
const MOST_COMPILED = 16
/** Masks that are kept: each is an eighth of a vocabulary in bytes. */
const MOST_MASKS = 512

/**
 * What an answer may cost beside the model, as places of its automaton: below a second in which
 * nobody else is served, and some ms for each token. Schemas that mean well take a tenth of it.
 */
const MOST_WORK = 1_000_000
const WORK_PER_TOKEN = 40_000

/** Ids that may follow in one state. */
interface Mask {
  /** A bit each. */
  readonly allowed: Uint32Array
  /** How many. */
  readonly count: number
}

/** Constraints of one model; its vocabulary is read once, when it is first needed. */
export class Constraints {
  readonly #spec: Pick<TokenizerSpec, 'json' | 'eosIds'>
  readonly #vocabSize: number
  readonly #compiled = new Map<string, CompiledConstraint>()
  #vocabulary: { trie: TokenTrie; specials: ReadonlyMap<string, number> } | undefined

  constructor(spec: Pick<TokenizerSpec, 'json' | 'eosIds'>, vocabSize: number) {
    this.#spec = spec
    this.#vocabSize = vocabSize
  }

  /**
   * Holds answers to a constraint; each answer takes a processor() of its own.
   * @throws AppError BAD_INPUT, naming what cannot be held, or for what takes too long to hold
   */
  compile(constraint: Constraint): CompiledConstraint {
    this.#vocabulary ??= this.#read()
    const { trie, specials } = this.#vocabulary
    const key = JSON.stringify(constraint)
    const known = this.#compiled.get(key)
    // The one used last is at the end.
    this.#compiled.delete(key)
    const compiled =
      known ?? new CompiledConstraint(automatonOf(constraint, specials), trie, this.#spec.eosIds)
    // The first mask is the largest as a rule: what is too much work is told before there is text.
    if (!known) compiled.processor().process(new Float32Array(this.#vocabSize), [])
    this.#compiled.set(key, compiled)
    if (this.#compiled.size > MOST_COMPILED) {
      const [oldest] = this.#compiled.keys()
      if (oldest !== undefined) this.#compiled.delete(oldest)
    }
    return compiled
  }

  #read(): { trie: TokenTrie; specials: ReadonlyMap<string, number> } {
    const bytes = tokenBytes(this.#spec, this.#vocabSize)
    const specials = new Map<string, number>()
    for (const { id, content, special } of addedTokens(this.#spec.json)) {
      // What ends an answer is no part of it.
      if (!special || id >= this.#vocabSize || this.#spec.eosIds.includes(id)) continue
      specials.set(content, id)
      bytes[id] = specialBytes(id)
    }
    return { trie: createTokenTrie(bytes), specials }
  }
}

/** Whether a constraint can be held at all, before there is a model. @throws AppError BAD_INPUT */
export function checkConstraint(constraint: Constraint): void {
  automatonOf(constraint, new Map())
}

/** What a constraint is made with. */
interface Making {
  readonly builder: GrammarBuilder
  /** Ids of special tokens, by text. */
  readonly specials: ReadonlyMap<string, number>
}

function automatonOf(constraint: Constraint, specials: ReadonlyMap<string, number>): Automaton {
  const builder = new GrammarBuilder()
  return new Automaton(builder.finish(fragmentOf(constraint, { builder, specials })))
}

function fragmentOf(constraint: Constraint, making: Making): Fragment {
  const { builder, specials } = making
  switch (constraint.kind) {
    case 'json': {
      const parts = new JsonParts(builder)
      return builder.sequence(parts.space(), parts.anyObject(), parts.space())
    }
    case 'schema':
      return schemaFragment(builder, constraint.schema)
    case 'regex': {
      const character = (ranges: Parameters<typeof characters>[1]) => characters(builder, ranges)
      return regexFragment(constraint.pattern, { builder, character })
    }
    case 'choice': {
      const { choices } = constraint
      if (choices.length === 0 || choices.length > MOST_CHOICES || choices.includes('')) {
        throw badInput(`Give from 1 to ${MOST_CHOICES} choices, none of them empty`)
      }
      return builder.texts(choices)
    }
    case 'mark': {
      const id = specials.get(constraint.text)
      if (id === undefined) return builder.text(constraint.text)
      return builder.sequence(...[...specialBytes(id)].map((byte) => builder.range(byte, byte)))
    }
    case 'sequence':
      return builder.sequence(...constraint.parts.map((part) => fragmentOf(part, making)))
    case 'any':
      return builder.choice(constraint.parts.map((part) => fragmentOf(part, making)))
    default:
      throw new TypeError('No such constraint')
  }
}

/** What a special token is to the automaton: bytes that no text has. */
function specialBytes(id: number): Uint8Array {
  return Uint8Array.of(0xff, (id >>> 16) & 0xff, (id >>> 8) & 0xff, id & 0xff)
}

export class CompiledConstraint {
  readonly #automaton: Automaton
  readonly #trie: TokenTrie
  readonly #eosIds: readonly number[]
  readonly #masks = new Map<State, Mask>()
  #generation = 0

  constructor(automaton: Automaton, trie: TokenTrie, eosIds: readonly number[]) {
    this.#automaton = automaton
    this.#trie = trie
    this.#eosIds = eosIds
  }

  /** Whether a text is whole and as the constraint wants it. */
  accepts(text: string): boolean {
    let state = this.#automaton.start()
    for (const byte of Buffer.from(text, 'utf8')) state = this.#automaton.step(state, byte)
    return this.#automaton.canEnd(state)
  }

  /** @param made text of this answer that is there already */
  processor(made: string = ''): LogitsProcessor {
    const automaton = this.#automaton
    const bytes: number[] = [...Buffer.from(made, 'utf8')]
    let generation = -1
    let state: State = DEAD
    let left = MOST_WORK
    /** What is done within what this answer may still cost. */
    const within = <T>(what: () => T): T => {
      const before = automaton.work
      automaton.allow(left)
      const result = what()
      left = Math.min(MOST_WORK, left - (automaton.work - before) + WORK_PER_TOKEN)
      return result
    }
    /** Where the text stands; walked anew when the automaton has forgotten its states. */
    const current = (): State => {
      if (automaton.trim()) this.#masks.clear()
      if (generation !== automaton.generation) {
        generation = automaton.generation
        state = automaton.start()
        for (const byte of bytes) state = automaton.step(state, byte)
      }
      return state
    }
    return {
      process: (logits) => within(() => this.#masked(logits, current())),
      drew: (id) => {
        const more = this.#trie.bytesOf(id) ?? []
        within(() => {
          let next = current()
          for (const byte of more) next = automaton.step(next, byte)
          state = next
        })
        for (const byte of more) bytes.push(byte)
      }
    }
  }

  #masked(logits: Float32Array, state: State): Float32Array {
    const { allowed, count } = this.#mask(state)
    const canEnd = this.#automaton.canEnd(state) || count === 0
    const { length } = logits
    // What there is less of is written id by id: most of a vocabulary may stand within a text.
    const isMost = 2 * count > length
    const masked = isMost ? logits.slice() : new Float32Array(length).fill(-Infinity)
    for (let word = 0; word < allowed.length; word++) {
      const held = allowed[word] ?? 0
      const bits = isMost ? ~held : held
      for (let rest = bits, id = 32 * word; rest !== 0; rest >>>= 1, id++) {
        if (rest & 1 && id < length) masked[id] = isMost ? -Infinity : (logits[id] ?? -Infinity)
      }
    }
    masked.fill(-Infinity, 32 * allowed.length)
    if (canEnd) for (const id of this.#eosIds) masked[id] = logits[id] ?? -Infinity
    return masked
  }

  #mask(state: State): Mask {
    if (this.#generation !== this.#automaton.generation) {
      this.#generation = this.#automaton.generation
      this.#masks.clear()
    }
    const known = this.#masks.get(state)
    if (known) return known
    const allowed = new Uint32Array(Math.ceil(this.#trie.vocabSize / 32))
    let count = 0
    this.#trie.walk(this.#automaton, state, (id) => {
      allowed[id >>> 5] = (allowed[id >>> 5] ?? 0) | (1 << (id & 31))
      count++
    })
    const mask = { allowed, count }
    if (this.#masks.size >= MOST_MASKS) {
      const [oldest] = this.#masks.keys()
      if (oldest !== undefined) this.#masks.delete(oldest)
    }
    this.#masks.set(state, mask)
    return mask
  }
}
