// Where a hub with the Hugging Face layout has a file, and where its own tools may have put it
// already. Knows no transport; download.ts fetches.
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput } from '../../base/errors.ts'

export interface HubOptions {
  /** HF_ENDPOINT. Default: the public hub. */
  endpoint?: string
  /** HF_TOKEN, for gated models. */
  token?: string
  /** HF_HOME: where the hub's own tools keep their cache. Default: not looked at. */
  home?: string
}

export const PUBLIC_HUB = 'https://huggingface.co'

const REPO = /^[\w.-]{1,96}\/[\w.-]{1,96}$/

/** `{endpoint}/{repo}/resolve/{revision}/{file}`. @throws AppError BAD_INPUT */
export function hubUrl(
  repo: string,
  revision: string,
  file: string,
  options: HubOptions = {}
): string {
  const parts = file.split('/')
  if (!REPO.test(repo) || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw badInput(`'${repo}/${file}' is no file of a hub`)
  }
  const path = [...repo.split('/'), 'resolve', revision, ...parts].map(encodeURIComponent).join('/')
  return `${hubEndpoint(options)}/${path}`
}

/** Without a slash at the end. @throws AppError BAD_INPUT */
export function hubEndpoint(options: HubOptions = {}): string {
  const endpoint = options.endpoint ?? PUBLIC_HUB
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    throw badInput(`'${endpoint}' is no address of a hub`, { hint: 'Look at HF_ENDPOINT' })
  }
  return endpoint.replace(/\/+$/, '')
}

/**
 * The token goes to the hub only, and by no way that others can read: fetch drops it if a redirect
 * leads to another host.
 */
export function hubHeaders(options: HubOptions = {}): Record<string, string> {
  const isSent = options.token !== undefined && keepsSecrets(options)
  return {
    'user-agent': 'petals',
    ...(isSent ? { authorization: `Bearer ${options.token}` } : {})
  }
}

/** Whether nobody on the way can read what goes to the hub. */
export function keepsSecrets(options: HubOptions = {}): boolean {
  const { protocol, hostname } = new URL(hubEndpoint(options))
  return protocol === 'https:' || /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(hostname)
}

/** Path at which the hub's own tools keep a large file with this hash. */
export function hubCachePath(home: string, repo: string, sha256: string): string {
  return join(repoCache(home, repo), 'blobs', sha256)
}

/**
 * Folder in which the hub's own tools have a revision of a repository, as they last saw it, whole
 * or not; undefined if they have none.
 */
export async function hubSnapshot(
  home: string,
  repo: string,
  revision: string
): Promise<string | undefined> {
  const folder = repoCache(home, repo)
  const saved = await readFile(join(folder, 'refs', ...revision.split('/')), 'utf8').catch(() => '')
  const commit = saved.trim() || revision
  if (!/^[0-9a-f]{40}$/.test(commit)) return undefined
  const snapshot = join(folder, 'snapshots', commit)
  const found = await stat(snapshot).catch(() => undefined)
  return found?.isDirectory() ? snapshot : undefined
}

/** A repository's name, of a path within a snapshot; undefined for any other path. */
export function repoOfSnapshot(path: string): string | undefined {
  const [, owner, name] = /[/\\]models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]/.exec(path) ?? []
  return name === undefined ? undefined : `${owner}/${name}`
}

function repoCache(home: string, repo: string): string {
  return join(home, 'hub', `models--${repo.replace('/', '--')}`)
}
