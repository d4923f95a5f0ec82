// A streamed answer as server-sent events: data lines, comments that keep the connection alive, and
// an error event when something fails midway. Knows no endpoint.
import { systemClock, type Clock } from '../../base/clock.ts'
import type { RouteNews } from '../../library/text/text-model.ts'
import { errorAnswer } from './errors.ts'

export interface EventWriter {
  /** One JSON event; with a name for endpoints whose events have one. */
  data(value: unknown, name?: string): void
  /** What happens to the route, as a comment, which clients pass over and the page reads. */
  news(news: RouteNews): void
  /** From now on this is told in silence: some clients count events only. Default: a comment. */
  inSilence(tell: () => void): void
}

export interface StreamOptions {
  clock?: Clock
  /** Silence after which something is sent, ms. Default 10,000: some clients give up after that. */
  aliveMs?: number
  /**
   * What goes wrong within this time, and before the first event, is thrown, so that it becomes the
   * status; later it is an event, ms. Default 5000.
   */
  settleMs?: number
  /** Ends the work when the client leaves. */
  abort: AbortController
  /** Sent after the last event, as OpenAI's clients want it. Default '[DONE]'; '' for none. */
  last?: string
  /** Told of what goes wrong after the status was sent, for the log. */
  report?: ((thrown: unknown) => void) | undefined
  /** An error as an event. Default: a data line with OpenAI's error. */
  onerror?: (thrown: unknown, writer: EventWriter) => void
}

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no'
}

/**
 * Answers with what `write` sends; the stream ends when the promise that it returns settles. The
 * status is 200 once the first event is written, or when `settleMs` have passed.
 * @throws what `write` throws before that
 */
export async function eventStream(
  write: (writer: EventWriter) => Promise<void>,
  options: StreamOptions
): Promise<Response> {
  const { clock = systemClock, aliveMs = 10_000, settleMs = 5000, abort, last = '[DONE]' } = options
  const stream = new SentStream(clock, aliveMs, () => abort.abort())
  const settled = Promise.withResolvers<void>()
  let isSettled = false
  const settle = (): void => {
    isSettled = true
    stopSettling()
    settled.resolve()
  }
  const stopSettling = clock.after(settleMs, settle)
  const writer: EventWriter = {
    data(value, name) {
      settle()
      const event = name === undefined ? '' : `event: ${name}\n`
      stream.send(`${event}data: ${JSON.stringify(value)}\n\n`)
    },
    news: (news) => stream.send(`: petals ${JSON.stringify(news)}\n\n`),
    inSilence: (tell) => void (stream.onsilence = tell)
  }
  const run = async (): Promise<void> => {
    try {
      await write(writer)
    } catch (error) {
      if (!isSettled) {
        stopSettling()
        stream.end()
        settled.reject(error)
        return
      }
      if (!abort.signal.aborted) {
        options.report?.(error)
        if (options.onerror) options.onerror(error, writer)
        else writer.data(errorAnswer(error).body)
      }
    }
    settle()
    if (last !== '') stream.send(`data: ${last}\n\n`)
    stream.end()
  }
  stream.send(': open\n\n')
  run().catch(() => stream.end())
  await settled.promise
  return new Response(stream.body, { headers: HEADERS })
}

/** A body that is written to, with comments where it would be silent. */
class SentStream {
  readonly body: ReadableStream<Uint8Array>
  /** Called when nothing was sent for long; sends something. */
  onsilence: () => void = () => this.send(': keep-alive\n\n')
  readonly #clock: Clock
  readonly #aliveMs: number
  readonly #encoder = new TextEncoder()
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined
  #stopAlive: () => void = () => {}

  constructor(clock: Clock, aliveMs: number, onleave: () => void) {
    this.#clock = clock
    this.#aliveMs = aliveMs
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#controller = controller),
      cancel: () => {
        this.#leave()
        onleave()
      }
    })
  }

  send(text: string): void {
    if (!this.#controller) return
    this.#stopAlive()
    this.#stopAlive = this.#clock.after(this.#aliveMs, () => this.onsilence())
    try {
      this.#controller.enqueue(this.#encoder.encode(text))
    } catch {
      // The client has left; its abort is on the way.
      this.#leave()
    }
  }

  end(): void {
    const controller = this.#controller
    this.#leave()
    try {
      controller?.close()
    } catch {
      // The client closed it.
    }
  }

  #leave(): void {
    this.#controller = undefined
    this.#stopAlive()
  }
}
