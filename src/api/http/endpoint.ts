// How an endpoint answers with a model: whole or as a stream, after the model is open and the
// request was checked. Knows no endpoint's words; app.ts calls it.
import type { Clock } from '../../base/clock.ts'
import type { TextModel } from '../../library/text/text-model.ts'
import type { Fields } from './fields.ts'
import { eventStream, type EventWriter, type StreamOptions } from './sse.ts'

/** What is known of a request before its model is open. */
export interface RequestContext {
  /** As clients call it. */
  readonly modelName: string
  /** Wall clock, seconds. */
  readonly created: number
  readonly abort: AbortController
  /** A fresh id with this prefix. */
  readonly newId: (prefix: string) => string
}

export interface EndpointContext extends RequestContext {
  readonly model: TextModel
}

/** An answer that can be given either way; nothing of it is computed yet. */
export interface Prepared {
  whole(): Promise<object>
  /** The first event is written when there is something of the answer to tell. */
  streamed(writer: EventWriter): Promise<void>
}

export interface Endpoint extends Pick<StreamOptions, 'last' | 'onerror'> {
  /** Checks the request. @throws RequestError, AppError */
  prepare(context: EndpointContext): Prepared
}

/** An endpoint for one request. */
export type MakeEndpoint = (fields: Fields, request: RequestContext) => Endpoint

export interface RespondOptions {
  readonly fields: Fields
  readonly request: RequestContext
  /** The model, which may take long to open. */
  readonly opening: Promise<TextModel>
  readonly clock: Clock
  /** Told of what goes wrong in a stream, for the log. */
  readonly report: (thrown: unknown) => void
}

/** @throws what goes wrong before an answer or a stream began: it becomes the status */
export async function respond(make: MakeEndpoint, options: RespondOptions): Promise<Response> {
  const { fields, request, opening, clock, report } = options
  const endpoint = make(fields, request)
  const { last, onerror } = endpoint
  const prepare = async (): Promise<Prepared> =>
    endpoint.prepare({ ...request, model: await opening })
  if (fields.boolean('stream') !== true) return Response.json(await (await prepare()).whole())
  return eventStream(async (writer) => (await prepare()).streamed(writer), {
    clock,
    report,
    abort: request.abort,
    ...(last === undefined ? {} : { last }),
    ...(onerror === undefined ? {} : { onerror })
  })
}
