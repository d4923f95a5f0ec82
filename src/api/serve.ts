// Serves the HTTP surface on a port. Knows no models: an app answers.
import type { Hono } from 'hono'
import type { Pages } from './page/pages.ts'
import { type AppError, inUse, unavailable } from '../base/errors.ts'

export interface ServeOptions {
  readonly app: Hono<{ Bindings: Partial<ServerBindings> }>
  readonly host: string
  /** 0: any. */
  readonly port: number
  /** The option that says the port, for errors. Default '--port'. */
  readonly option?: string
  /** Shown beside the app's paths. Default: none. */
  readonly pages?: Pages
}

/** What an app is told of the server beside the request. */
export interface ServerBindings {
  /** An answer may take any time from here on: its connection is not closed for being quiet. */
  keepOpen(request: Request): void
}

export interface ApiServer {
  readonly url: string
  readonly port: number
  /** Ends what is under way. */
  close(): Promise<void>
}

/** A connection that sends nothing of its request for so long is closed, s. */
const IDLE_S = 60
/** The app has a lower limit of its own, which it tells in words. */
const MOST_BODY_BYTES = 2 ** 30

/** @throws AppError IN_USE, UNAVAILABLE */
export function serve({ app, host, port, option = '--port', pages = {} }: ServeOptions): ApiServer {
  try {
    const server = Bun.serve({
      hostname: host,
      port,
      // Else Bun shares the port with whatever else of Bun listens there, and says nothing.
      reusePort: false,
      idleTimeout: IDLE_S,
      maxRequestBodySize: MOST_BODY_BYTES,
      development: false,
      routes: pages,
      fetch: (request, own) =>
        app.fetch(request, { keepOpen: (one: Request) => own.timeout(one, 0) })
    })
    return {
      url: `http://${shownHost(host)}:${server.port}`,
      port: server.port ?? port,
      close: () => server.stop(true)
    }
  } catch (error) {
    throw listenError(error, { host, port, option })
  }
}

function shownHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

function listenError(
  error: unknown,
  { host, port, option }: { host: string; port: number; option: string }
): AppError {
  const { code = '' } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    return inUse(`Port ${port} of ${host} is taken`, {
      hint: `Give another ${option}, or 0 for any`
    })
  }
  return unavailable(`This machine cannot listen at ${host}:${port}`, {
    cause: error,
    hint: `Give another address or ${option}; ports below 1024 need rights`
  })
}
