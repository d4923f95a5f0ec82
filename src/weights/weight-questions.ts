// Requests to peers about weights, repeated while a peer is busy. A failure concerns only that
// peer; one that breaks the protocol is asked no more. weight-peers.ts and file-holders.ts use it.
// Knows no files.
import { sleep } from '../base/clock.ts'
import { toHex } from '../base/bytes.ts'
import { protocolError, toAppError } from '../base/errors.ts'
import { whyNot } from '../swarm/private/capability.ts'
import { catalogueCodec } from '../wire/codec/weights.ts'
import { decodeMessage } from '../wire/codec/encode.ts'
import type { PeerLink } from '../wire/link.ts'
import { LIMITS } from '../wire/protocol.ts'
import type { Catalogue } from '../wire/types.ts'
import type { AskOptions, Question, WeightAsker } from './weight-asker.ts'
import { WeightFinder, type WeightFinderOptions } from './weight-finder.ts'

export interface WeightQuestionsOptions extends WeightFinderOptions {
  asker: WeightAsker
}

const BUSY_TRIES = 8
const BUSY_MS = 1000

export class WeightQuestions {
  readonly finder: WeightFinder
  readonly options: WeightQuestionsOptions

  constructor(options: WeightQuestionsOptions) {
    this.options = options
    this.finder = new WeightFinder(options)
  }

  /**
   * Open links to those who announce a word and, in a private swarm, may serve the model that they
   * say it stands for. @throws AppError CANCELLED
   */
  async peers(word: string, signal: AbortSignal | undefined): Promise<readonly PeerLink[]> {
    const links = await this.finder.find(word, signal)
    const all = links.map(async (link) => ((await this.#mayServe(link, word, signal)) ? link : []))
    return (await Promise.all(all)).flat()
  }

  /** What a peer says that a word stands for, and what it is made of. @throws AppError */
  async catalogue(
    link: PeerLink,
    word: string,
    signal: AbortSignal | undefined
  ): Promise<Catalogue> {
    const { payloadBytes: maxBytes } = LIMITS
    const question = { what: 'catalogue', name: word } as const
    return decodeMessage(catalogueCodec, await this.ask(link, question, { maxBytes, signal }))
  }

  /** Bytes of a file, all of them. @throws AppError as the peer refuses, PROTOCOL for less */
  async bytes(
    link: PeerLink,
    name: string,
    part: { start: number; count: number; signal: AbortSignal | undefined }
  ): Promise<Uint8Array> {
    const { start, count, signal } = part
    const question = { what: 'bytes', name, start, count } as const
    const bytes = await this.options.asker.ask(link, question, { maxBytes: count, signal })
    if (bytes.byteLength !== count) throw protocolError('The peer gives less than was asked for')
    return bytes
  }

  /** Asks again while the peer is busy: it may still be hashing. */
  async ask(link: PeerLink, question: Question, options: AskOptions): Promise<Uint8Array> {
    const { asker, clock } = this.options
    for (let tries = 1; ; tries++) {
      try {
        return await asker.ask(link, question, options)
      } catch (error) {
        if (toAppError(error).code !== 'BUSY' || tries >= BUSY_TRIES) throw error
        await sleep(BUSY_MS, { clock, ...(options.signal ? { signal: options.signal } : {}) })
      }
    }
  }

  /** Asks all at once and leaves out peers that fail. @throws AppError CANCELLED */
  async each(links: readonly PeerLink[], ask: (link: PeerLink) => Promise<void>): Promise<void> {
    await Promise.all(
      links.map(async (link) => {
        try {
          await ask(link)
        } catch (error) {
          this.failed(link, error)
        }
      })
    )
  }

  /** @throws AppError CANCELLED */
  failed(link: PeerLink, error: unknown, signal?: AbortSignal): void {
    const { code, message } = toAppError(error)
    if (code === 'CANCELLED' || signal?.aborted) throw error
    if (code === 'PROTOCOL' || code === 'LIMIT') this.finder.avoid(link.peer, message)
    else this.options.log.debug(`no weights from ${link.peer.slice(0, 8)}: ${message}`)
  }

  async #mayServe(link: PeerLink, word: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { node, log } = this.options
    const member = node.memberOf(link)
    // Everybody in an open swarm; or whoever may serve whichever model.
    if (!member || member.models.length === 0) return true
    try {
      const id = isContentId(word) ? word : toHex((await this.catalogue(link, word, signal)).model)
      const why = whyNot(member, { act: 'serve', model: { id, names: namesOf(word) } })
      if (why !== undefined) log.debug(`no weights from ${link.peer.slice(0, 8)}: ${why}`)
      return why === undefined
    } catch (error) {
      this.failed(link, error, signal)
      return false
    }
  }
}

/** Whether a word for a model is its content id in hex. */
export function isContentId(word: string): boolean {
  return /^[0-9a-f]{64}$/.test(word)
}

/** What an invite may call what a word stands for: with and without owner and revision. */
function namesOf(word: string): readonly string[] {
  const [name = word] = word.split('@')
  return [word, name, name.split('/').at(-1) ?? name]
}
