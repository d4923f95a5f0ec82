// Lists the files of a hub's repository with their sizes and hashes:
// `/api/models/{repo}/tree/{revision}`. Knows no models: repo-files.ts chooses the files.
import { sleep, systemClock } from '../../base/clock.ts'
import { corrupt, notFound, type AppError } from '../../base/errors.ts'
import { hubHeaders, type HubOptions, hubEndpoint } from './hub.ts'
import {
  BACKOFFS_MS,
  bare,
  brokenOff,
  checkStatus,
  type HttpOptions,
  piecesOf,
  request
} from './http.ts'

/** Limits on what a hub may list; the largest repositories have several thousand files. */
const MAX_PAGES = 64
const MAX_PAGE_BYTES = 2 ** 24
const MAX_FILES = 65_536
const MAX_PATH = 1024
/** Hubs accept files of up to 500 GB; the journal of 1 TiB has 128 MiB. */
const MAX_SIZE = 2 ** 40

export interface ListedFile {
  readonly path: string
  readonly sizeBytes: number
  /** Lower-case hex: the SHA-256 of a large file, the 40 digits of a git blob id of a small one. */
  readonly hash: string
}

/** @throws AppError NOT_FOUND, DENIED, BUSY, UNAVAILABLE, CORRUPT, CANCELLED */
export async function listRepo(
  repo: string,
  revision: string,
  options: HttpOptions & { hub?: HubOptions | undefined }
): Promise<ListedFile[]> {
  const endpoint = hubEndpoint(options.hub)
  const path = `${repo.split('/').map(encodeURIComponent).join('/')}/tree/${encodeURIComponent(revision)}`
  let url: string | undefined = `${endpoint}/api/models/${path}?recursive=true`
  const files: ListedFile[] = []
  for (let page = 0; url !== undefined; page++) {
    if (page === MAX_PAGES) throw corrupt(`'${repo}' cannot be listed: it has too many files`)
    const { body, link } = await getPage(url, repo, options)
    files.push(...filesOf(body, repo))
    if (files.length > MAX_FILES) throw corrupt(`'${repo}' cannot be listed: it has too many files`)
    url = nextPage(link, url)
  }
  return files
}

async function getPage(
  url: string,
  repo: string,
  options: HttpOptions & { hub?: HubOptions | undefined }
): Promise<{ body: unknown; link: string | null }> {
  const { clock = systemClock, signal, backoffsMs = BACKOFFS_MS } = options
  for (let failures = 0; ; failures++) {
    const abort = new AbortController()
    try {
      const response = await request(url, { headers: hubHeaders(options.hub) }, abort, options)
      if (response.status === 404) {
        throw notFound(`There is no '${repo}' on the hub, or not in this revision`, {
          hint: 'A model of a hub is named owner/name, or owner/name@revision'
        })
      }
      checkStatus(response, url, clock)
      const pieces: Uint8Array[] = []
      let size = 0
      for await (const piece of piecesOf(response, options)) {
        size += piece.byteLength
        if (size > MAX_PAGE_BYTES) throw corrupt(`'${bare(url)}' answers with too much`)
        pieces.push(piece)
      }
      return { body: parse(Buffer.concat(pieces), url), link: response.headers.get('link') }
    } catch (thrown) {
      const failure: AppError = brokenOff(thrown, url, signal)
      const wait = failure.retryAfterMs ?? backoffsMs[failures]
      if (!failure.retryable || wait === undefined || failures >= backoffsMs.length) throw failure
      await sleep(wait, { clock, ...(signal ? { signal } : {}) })
    } finally {
      abort.abort()
    }
  }
}

function parse(bytes: Buffer, url: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    throw corrupt(`'${bare(url)}' is no list of files`, {
      hint: 'HF_ENDPOINT must be a hub of the Hugging Face layout'
    })
  }
}

function filesOf(body: unknown, repo: string): ListedFile[] {
  if (!Array.isArray(body)) throw corrupt(`'${repo}' cannot be listed: the hub's answer is no list`)
  return body.flatMap((entry: unknown): ListedFile[] => {
    const { type, path, size, oid, lfs } = (entry ?? {}) as Record<string, unknown>
    if (type !== 'file' || typeof path !== 'string' || !isPlain(path)) return []
    const large = (lfs ?? undefined) as { oid?: unknown; size?: unknown } | undefined
    const hash = large ? large.oid : oid
    const sizeBytes = large?.size ?? size
    const isHash = typeof hash === 'string' && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)
    if (!isHash || !isSize(sizeBytes)) {
      throw corrupt(`'${repo}' cannot be listed: '${path}' has no good hash or size`)
    }
    return [{ path, sizeBytes: sizeBytes as number, hash }]
  })
}

function isSize(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MAX_SIZE
}

/** Whether a path stays within its repository on any system. */
function isPlain(path: string): boolean {
  const parts = path.split('/')
  return (
    path.length <= MAX_PATH &&
    parts.every(
      (part) => part !== '' && part !== '.' && part !== '..' && !/[\\:\p{Cc}]/u.test(part)
    )
  )
}

/** `<url>; rel="next"`. Another host must not get our token. */
function nextPage(link: string | null, from: string): string | undefined {
  const next = /<([^<>]+)>\s*;\s*rel="next"/.exec(link ?? '')?.[1]
  if (next === undefined) return undefined
  const url = URL.canParse(next, from) ? new URL(next, from) : undefined
  if (url?.origin === new URL(from).origin) return url.href
  throw corrupt(`'${bare(from)}' continues on another host`)
}
