// A hub with one repository, in the real one's layout: a list of files with their hashes, small
// files given by the hub itself, large ones by redirects to signed links of a store on another
// host.
import { createHash } from 'node:crypto'
import { type HubReply, type HubRequest, type HubServer, hubServer, serve } from './hub-server.ts'

interface Claim {
  hash?: string
  sizeBytes?: number
  /** Kept as small files are, whatever its name. */
  isSmall?: boolean
}

export interface HubRepoOptions {
  repo?: string
  revision?: string
  files: Readonly<Record<string, Uint8Array>>
  /** Asked of whoever reads a file, as a gated repository does. */
  token?: string
  /** Changes what the hub answers; undefined: as it is. */
  onhub?: (request: HubRequest) => HubReply | undefined
  /** Changes what the store answers, `index` counts its requests from 0. */
  onstore?: (request: HubRequest, reply: HubReply, index: number) => HubReply | Promise<HubReply>
  /** What the list claims in place of a file's true hash or size. */
  claims?: Readonly<Record<string, Claim>>
  /** Files a page of the list. Default: all. */
  pageSize?: number
}

export interface HubRepo extends AsyncDisposable {
  readonly url: string
  readonly repo: string
  readonly hub: HubServer
  readonly store: HubServer
  /** The store refuses links that were given before. */
  expireLinks(): void
  /** Bytes that the store was asked for, by range. */
  readonly storeBytes: number
}

const isLarge = (path: string, claim?: Claim): boolean =>
  /\.(safetensors|gguf)$/.test(path) && claim?.isSmall !== true
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const gitBlob = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex')

export async function hubRepo(options: HubRepoOptions): Promise<HubRepo> {
  const { repo = 'some/model', revision = 'main', files, token, pageSize = Infinity } = options
  let signature = 1
  let storeBytes = 0
  const store = await hubServer(async (request, index) => {
    const [, hash = '', query] = /^\/blobs\/([^?]*)\?signature=(.*)$/.exec(request.path) ?? []
    const bytes = Object.values(files).find((each) => sha256(each) === hash)
    if (!bytes) return { status: 404 }
    if (Number(query) !== signature) return { status: 403 }
    const reply = serve(bytes, request, '"store"')
    storeBytes += reply.body?.byteLength ?? 0
    return (await options.onstore?.(request, reply, index)) ?? reply
  })
  // Another name of this machine: another host, which must get no token.
  const storeUrl = store.url.replace('127.0.0.1', 'localhost')
  const list = Object.entries(files).map(([path, bytes]) =>
    entryOf(path, bytes, options.claims?.[path])
  )

  const answer = (request: HubRequest): HubReply => {
    const [path = '', query = ''] = request.path.split('?')
    if (path === `/api/models/${repo}/tree/${encodeURIComponent(revision)}`) {
      const from = Number(/cursor=(\d+)/.exec(query)?.[1] ?? 0)
      const more = from + pageSize < list.length
      const next = `<${hub.url}${path}?recursive=true&cursor=${from + pageSize}>; rel="next"`
      return {
        status: 200,
        headers: { 'content-type': 'application/json', ...(more ? { link: next } : {}) },
        body: Buffer.from(JSON.stringify(list.slice(from, from + pageSize)))
      }
    }
    const start = `/${repo}/resolve/${encodeURIComponent(revision)}/`
    if (!path.startsWith(start)) return { status: 404 }
    if (token !== undefined && request.headers['authorization'] !== `Bearer ${token}`) {
      return { status: 401, headers: { 'x-error-code': 'GatedRepo' } }
    }
    const name = decodeURIComponent(path.slice(start.length))
    const bytes = files[name]
    if (!bytes) return { status: 404, headers: { 'x-error-code': 'EntryNotFound' } }
    if (!isLarge(name, options.claims?.[name])) return serve(bytes, request, `"${gitBlob(bytes)}"`)
    return {
      status: 302,
      headers: {
        location: `${storeUrl}/blobs/${sha256(bytes)}?signature=${signature}`,
        'x-linked-etag': `"${sha256(bytes)}"`,
        'x-linked-size': String(bytes.byteLength),
        'x-repo-commit': 'c'.repeat(40)
      }
    }
  }
  const hub: HubServer = await hubServer((request) => options.onhub?.(request) ?? answer(request))
  return {
    url: hub.url,
    repo,
    hub,
    store,
    expireLinks: () => void signature++,
    get storeBytes() {
      return storeBytes
    },
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    }
  }
}

function entryOf(path: string, bytes: Uint8Array, claim: Claim = {}): object {
  const size = claim.sizeBytes ?? bytes.byteLength
  const common = { type: 'file', path, size }
  if (!isLarge(path, claim)) return { ...common, oid: claim.hash ?? gitBlob(bytes) }
  const lfs = { oid: claim.hash ?? sha256(bytes), size, pointerSize: 134 }
  return { ...common, oid: '0'.repeat(40), lfs }
}
