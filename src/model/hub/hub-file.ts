// Finds where a hub's file really is. Redirects are followed by hand, because only the hub's own
// response tells the file's hash and size (x-linked-etag, x-linked-size), and the token must go to
// no other host. One lookup serves many ranges: hubs count requests, their stores do not.
import { systemClock } from '../../base/clock.ts'
import { corrupt, unavailable } from '../../base/errors.ts'
import { bare, brokenOff, checkStatus, type HttpOptions, request } from './http.ts'

export interface HubFile {
  /** At the hub: `{endpoint}/{repo}/resolve/{revision}/{file}`. */
  url: string
  /** Including the token, for the hub only. */
  headers: Readonly<Record<string, string>>
  sizeBytes: number
  /** Lower-case hex. */
  sha256: string
}

export interface Located {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** A link to a store, which may expire; the hub gives a new one. */
  readonly isElsewhere: boolean
}

const MAX_REDIRECTS = 5

/** @throws AppError DENIED, NOT_FOUND, BUSY, UNAVAILABLE, CORRUPT (not the file that was listed) */
export async function locateFile(file: HubFile, options: HttpOptions): Promise<Located> {
  const { clock = systemClock, signal } = options
  let url = file.url
  const abort = new AbortController()
  try {
    for (let i = 0; i < MAX_REDIRECTS; i++) {
      const headers = { ...file.headers, 'accept-encoding': 'identity' }
      const init = { method: 'HEAD', redirect: 'manual', headers } as const
      const response = await request(url, init, abort, options)
      const location = response.headers.get('location')
      const isRedirect = response.status >= 300 && response.status < 400 && location !== null
      if (!isRedirect) checkStatus(response, url, clock)
      checkClaims(response, file, isRedirect)
      if (!isRedirect) return { url, headers: file.headers, isElsewhere: false }
      const next = redirected(location, url)
      if (new URL(next).origin !== new URL(file.url).origin) {
        return { url: next, headers: {}, isElsewhere: true }
      }
      url = next
    }
    throw unavailable(`'${bare(file.url)}' cannot be downloaded: it is redirected without end`)
  } catch (error) {
    throw brokenOff(error, url, signal)
  } finally {
    abort.abort()
  }
}

function redirected(location: string, from: string): string {
  const url = URL.canParse(location, from) ? new URL(location, from) : undefined
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url.href
  throw corrupt(`'${bare(from)}' redirects to no address: '${location.slice(0, 200)}'`)
}

function checkClaims(response: Response, file: HubFile, isRedirect: boolean): void {
  const { headers } = response
  const size = headers.get('x-linked-size') ?? (isRedirect ? null : headers.get('content-length'))
  const tag = headers.get('x-linked-etag') ?? (isRedirect ? null : headers.get('etag'))
  const hash = /^(?:W\/)?"([0-9a-f]{64})"$/.exec(tag ?? '')?.[1]
  const isOther = hash !== undefined && hash !== file.sha256
  if (isOther || (size !== null && Number(size) !== file.sizeBytes)) {
    throw corrupt(`'${bare(file.url)}' is another file than the hub has listed`, {
      hint: 'The repository may have been changed just now: try again, or name a @revision'
    })
  }
}
