// Requests to peers about weights, repeated while a peer is busy. A failure concerns only that
// peer; one that breaks the protocol is asked no more. weight-peers.ts and file-holders.ts use it.
// Knows no files.
import { sleep } from '../base/clock.ts'
import { protocolError, toAppError } from '../base/errors.ts'
import type { PeerLink } from '../wire/link.ts'
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

  /** All bytes of a small file. @throws AppError as the peer refuses, PROTOCOL for fewer bytes */
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
}
