// Who hears of what arrives over a node's links: handlers come and go while the links stay.
// Called by node.ts for every link. Knows no messages.
import { toAppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { LinkHandlers } from '../wire/link.ts'
import type { PeerLink } from '../wire/link.ts'

type Told = Exclude<keyof LinkHandlers, 'onstep' | 'status'>

/** All of them: the compiler asks for those that are missing. */
const TOLD: Readonly<Record<Told, true>> = {
  onready: true,
  onopen: true,
  onopened: true,
  onresult: true,
  onerror: true,
  oncancel: true,
  onkeep: true,
  onclosesession: true,
  onannounce: true,
  onwant: true,
  ongive: true,
  ontune: true,
  ontuned: true,
  onclosed: true
}
const EVENTS = Object.keys(TOLD) as Told[]

export class HandlerSet {
  /**
   * For links: tells all handlers that there are at that moment, in the order in which they came.
   */
  readonly handlers: LinkHandlers
  readonly #log: Log
  #all: readonly LinkHandlers[] = []

  constructor(log: Log) {
    this.#log = log
    const tellers = EVENTS.map((event) => [
      event,
      (...of: [PeerLink, never]) => this.#tell(event, of)
    ])
    this.handlers = {
      ...(Object.fromEntries(tellers) as Pick<LinkHandlers, Told>),
      onstep: (link, message) => {
        const held = this.#all.flatMap((one) => one.onstep?.(link, message) ?? [])
        if (held.length < 2) return held[0]
        return Promise.all(held).then(() => {})
      },
      status: () => {
        for (const one of this.#all) {
          const status = one.status?.()
          if (status) return status
        }
        return { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }
      }
    }
  }

  /** Returns what takes the handlers out again. */
  add(handlers: LinkHandlers): () => void {
    this.#all = [...this.#all, handlers]
    return () => {
      this.#all = this.#all.filter((one) => one !== handlers)
    }
  }

  /** A mistake of one handler must not keep a message from the others. */
  #tell(event: Told, of: readonly [PeerLink, never]): void {
    for (const one of this.#all) {
      // One of them may have ended the link.
      if (of[0].closed && event !== 'onclosed') return
      try {
        const handle = one[event] as ((...of: [PeerLink, never]) => void) | undefined
        handle?.apply(one, [...of])
      } catch (error) {
        this.#log.error(`'${event}' was not handled: ${toAppError(error).message}`)
      }
    }
  }
}
