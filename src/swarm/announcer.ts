// Keeps topics announced, of a span's cells or of words for a model, through hyperswarm, and takes
// them back. Knows no records and no links.
import type Hyperswarm from 'hyperswarm'
import { toHex } from '../base/bytes.ts'
import type { ServerInfo } from '../wire/types.ts'
import { cellsOf, modelsTopic, topicOf, wordTopic } from './topics.ts'

const AS_SERVER = { server: true, client: false } as const

interface Announced {
  readonly topic: Uint8Array
  readonly session: Hyperswarm.Session
}

export class TopicAnnouncer {
  readonly #swarm: Hyperswarm
  readonly #secret: Uint8Array | undefined
  readonly #announced = new Map<string, Announced>()

  constructor(swarm: Hyperswarm, secret: Uint8Array | undefined) {
    this.#swarm = swarm
    this.#secret = secret
  }

  /**
   * Announces the cells of a span, and that the swarm has this server, then takes back cells that
   * it no longer touches.
   */
  async announce(info: ServerInfo): Promise<void> {
    const cells = cellsOf(info.start, info.end, info.blockCount)
    const topics = cells.map((cell) => topicOf(info.model, cell, this.#secret))
    await this.#announceAll([...topics, modelsTopic(this.#secret)])
  }

  /** Announces where a model is found by words for it; an announcer has either words or cells. */
  async announceWords(words: readonly string[]): Promise<void> {
    await this.#announceAll(words.map((word) => wordTopic(word, this.#secret)))
  }

  /** Announces again what is announced. */
  refresh(): void {
    for (const { session } of this.#announced.values()) {
      // hyperswarm tries again by itself.
      session.refresh(AS_SERVER).catch(() => {})
    }
  }

  leave(): Promise<void> {
    return this.#leaveAllBut(new Set())
  }

  async #announceAll(topics: readonly Uint8Array[]): Promise<void> {
    const wanted = new Set(topics.map(toHex))
    const sessions = topics.map((topic) => this.#join(topic))
    await Promise.all(sessions.map((session) => session.flushed()))
    await this.#leaveAllBut(wanted)
  }

  #join(topic: Uint8Array): Hyperswarm.Session {
    const key = toHex(topic)
    const known = this.#announced.get(key)
    if (known) return known.session
    const session = this.#swarm.join(topic, AS_SERVER)
    this.#announced.set(key, { topic, session })
    return session
  }

  async #leaveAllBut(wanted: ReadonlySet<string>): Promise<void> {
    const leaving: Promise<void>[] = []
    for (const [key, { topic }] of this.#announced) {
      if (wanted.has(key)) continue
      this.#announced.delete(key)
      leaving.push(this.#swarm.leave(topic))
    }
    await Promise.all(leaving)
  }
}
