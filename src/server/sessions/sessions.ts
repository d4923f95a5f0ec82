// The sessions that a server holds: owner, length, promised tokens. Knows the engine's sessions
// only by number, and no bytes of the wire.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { HeldAdapters } from '../adapters/adapter-keeper.ts'
import { originOf, type ServerLink } from '../links.ts'
import type { SessionMarks } from './session-marks.ts'

export interface ServedSession extends BlockSpan {
  readonly id: Uint8Array
  /** Hex of `id`. */
  readonly key: string
  /** Answers and errors go here, whoever sent the step. */
  readonly owner: ServerLink
  /** Number of the engine's session; undefined until it is open. */
  compute: number | undefined
  /** Adapters that it runs with; undefined until they are here, or without any. */
  adapters: HeldAdapters | undefined
  /** Names them and what each counts; empty without any. */
  readonly adaptersKey: string
  /** Settles when the engine has opened it or failed to. */
  opening: Promise<void> | undefined
  /** Longest length promised to the client, in tokens. */
  maxTokens: number
  /** Positions that the KV holds. */
  length: number
  /** Tokens that were computed for it, those of repeated steps too. */
  tokens: number
  /** Names of its prefixes, for when it ends. */
  readonly marks: SessionMarks
  /** Nothing of it may be kept. */
  readonly forget: boolean
  /** Highest step number so far; a lower one is a duplicate. */
  lastStep: number
  /** Monotonic ms. */
  readonly openedAt: number
  usedAt: number
  closed: boolean
}

export class SessionTable {
  readonly #byKey = new Map<string, ServedSession>()
  #promisedTokens = 0

  get size(): number {
    return this.#byKey.size
  }

  /** Tokens promised to all open sessions together. */
  get promisedTokens(): number {
    return this.#promisedTokens
  }

  get(id: Uint8Array): ServedSession | undefined {
    return this.#byKey.get(toHex(id))
  }

  add(session: ServedSession): void {
    this.#byKey.set(session.key, session)
    this.#promisedTokens += session.maxTokens
  }

  /** Changes what a session was promised. */
  promise(session: ServedSession, maxTokens: number): void {
    this.#promisedTokens += maxTokens - session.maxTokens
    session.maxTokens = maxTokens
  }

  remove(session: ServedSession): void {
    if (this.#byKey.get(session.key) !== session) return
    this.#byKey.delete(session.key)
    this.#promisedTokens -= session.maxTokens
  }

  countOf(peer: string): number {
    let count = 0
    for (const session of this.#byKey.values()) if (session.owner.peer === peer) count++
    return count
  }

  /** Number of sessions of all peers at one address. */
  countFrom(origin: string): number {
    let count = 0
    for (const { owner } of this.#byKey.values()) if (originOf(owner) === origin) count++
    return count
  }

  /** Tokens promised to the sessions of all peers at one address. */
  promisedTo(origin: string): number {
    let tokens = 0
    for (const { owner, maxTokens } of this.#byKey.values()) {
      if (originOf(owner) === origin) tokens += maxTokens
    }
    return tokens
  }

  ownedBy(owner: ServerLink): ServedSession[] {
    return [...this.#byKey.values()].filter((session) => session.owner === owner)
  }

  /** Sessions unused since `before`, the longest idle first. */
  idleSince(before: number): ServedSession[] {
    return [...this.#byKey.values()]
      .filter((session) => session.usedAt < before)
      .sort((a, b) => a.usedAt - b.usedAt)
  }

  all(): ServedSession[] {
    return [...this.#byKey.values()]
  }
}
