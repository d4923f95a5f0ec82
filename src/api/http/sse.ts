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
}

export interface StreamOptions {
  clock?: Clock
  /** Silence after which a comment is sent, ms. Default 10,000: some clients give up after that. */
  aliveMs?: number
  /** Ends the work when the client leaves. */
  abort: AbortController
  /** Sent after the last event, as OpenAI's clients want it. Default '[DONE]'; '' for none. */
  last?: string
  /** An error as an event. Default: a data line with OpenAI's error. */
  onerror?: (thrown: unknown, writer: EventWriter) => void
}

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no'
}

/** Answers with what `write` sends; it ends when the returned promise settles. */
export function eventStream(
  write: (writer: EventWriter) => Promise<void>,
  options: StreamOptions
): Response {
  const { clock = systemClock, aliveMs = 10_000, abort, last = '[DONE]' } = options
  const encoder = new TextEncoder()
  let stopAlive: () => void = () => {}
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      let open = true
      const send = (text: string): void => {
        if (!open) return
        stopAlive()
        stopAlive = clock.after(aliveMs, () => send(': keep-alive\n\n'))
        try {
          controller.enqueue(encoder.encode(text))
        } catch {
          // The client has left; its abort is on the way.
          open = false
        }
      }
      const writer: EventWriter = {
        data: (value, name) =>
          send(`${name === undefined ? '' : `event: ${name}\n`}data: ${JSON.stringify(value)}\n\n`),
        news: (news) => send(`: petals ${JSON.stringify(news)}\n\n`)
      }
      send(': open\n\n')
      try {
        await write(writer)
      } catch (error) {
        if (!abort.signal.aborted) {
          if (options.onerror) options.onerror(error, writer)
          else writer.data(errorAnswer(error).body)
        }
      } finally {
        if (last !== '') send(`data: ${last}\n\n`)
        open = false
        stopAlive()
        try {
          controller.close()
        } catch {
          // The client closed it.
        }
      }
    },
    cancel() {
      stopAlive()
      abort.abort()
    }
  })
  return new Response(body, { headers: HEADERS })
}
