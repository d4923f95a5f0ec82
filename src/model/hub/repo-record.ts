// What is known about a repository of a hub, kept so that a model can be opened without the hub:
// cache/repos/OWNER--NAME/KEY.json. Its small files are beside it, its weights in
// cache/models/HASH/NAME.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { ListedFile } from './hub-tree.ts'
import { SMALL_FILES } from './repo-files.ts'
import { parseRepoName, type RepoName, repoText } from './repo-name.ts'

export interface RepoRecord {
  readonly name: RepoName
  readonly kind: 'folder' | 'gguf'
  /** Config and tokenizer of a folder. */
  readonly small: readonly ListedFile[]
  /** In order. */
  readonly weights: readonly ListedFile[]
  /** It is known from peers and not from a hub. */
  readonly isUnverified?: boolean
}

const MAX_RECORD_BYTES = 2 ** 22

/** Folder of everything of a repository except weights. */
export function repoFolder(cacheDir: string, repo: string): string {
  return join(cacheDir, 'repos', repo.replace('/', '--'))
}

export function recordPath(cacheDir: string, name: RepoName): string {
  return join(repoFolder(cacheDir, name.repo), `${digest([name.revision, name.pick ?? ''])}.json`)
}

/**
 * Folder of the small files; each set of them has its own. Its name ends with the model's name,
 * which users see.
 */
export function smallFolder(cacheDir: string, repo: string, small: readonly ListedFile[]): string {
  const key = digest(small.map(({ path, hash }) => `${path} ${hash}`).toSorted())
  return join(repoFolder(cacheDir, repo), key, repo.split('/')[1] ?? repo)
}

/** By hash alone, so that repositories share equal files. */
export function weightPath(cacheDir: string, file: ListedFile): string {
  return join(cacheDir, 'models', file.hash, basename(file.path))
}

function digest(parts: readonly string[]): string {
  const hasher = new Bun.CryptoHasher('blake2b256')
  return hasher.update(JSON.stringify(parts)).digest('hex').slice(0, 16)
}

export async function writeRecord(cacheDir: string, record: RepoRecord): Promise<void> {
  const path = recordPath(cacheDir, record.name)
  const aside = `${path}.${randomUUID()}`
  await mkdir(dirname(path), { recursive: true })
  const { kind, small, weights, isUnverified } = record
  const json = { version: 1, name: repoText(record.name), kind, small, weights, isUnverified }
  await writeFile(aside, JSON.stringify(json, undefined, 1))
  await rename(aside, path)
}

/** Undefined if there is none, or if it cannot be used. */
export async function readRecord(
  cacheDir: string,
  name: RepoName
): Promise<RepoRecord | undefined> {
  return await readRecordFile(recordPath(cacheDir, name))
}

/** All records of the cache. */
export async function listRecords(cacheDir: string): Promise<RepoRecord[]> {
  const records: RepoRecord[] = []
  const root = join(cacheDir, 'repos')
  for (const repo of (await readdir(root).catch(() => [])).sort()) {
    for (const file of (await readdir(join(root, repo)).catch(() => [])).sort()) {
      const record = file.endsWith('.json')
        ? await readRecordFile(join(root, repo, file))
        : undefined
      if (record) records.push(record)
    }
  }
  return records
}

async function readRecordFile(path: string): Promise<RepoRecord | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  if (text === '' || text.length > MAX_RECORD_BYTES) return undefined
  let json: Record<string, unknown>
  try {
    json = JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
  const name = parseRepoName(String(json['name']))
  const small = filesOf(json['small'])
  const weights = filesOf(json['weights'])
  const kind = json['kind']
  const isGood = json['version'] === 1 && (kind === 'folder' || kind === 'gguf')
  if (!isGood || !name || !small || !weights || weights.length === 0) return undefined
  if (small.some(({ path: each }) => !SMALL_FILES.includes(each))) return undefined
  return {
    name,
    kind,
    small,
    weights,
    ...(json['isUnverified'] === true ? { isUnverified: true } : {})
  }
}

function filesOf(value: unknown): ListedFile[] | undefined {
  if (!Array.isArray(value)) return undefined
  const files = value.filter((each): each is ListedFile => {
    const { path, sizeBytes, hash } = (each ?? {}) as Record<string, unknown>
    const isHash = typeof hash === 'string' && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)
    return typeof path === 'string' && path !== '' && Number.isSafeInteger(sizeBytes) && isHash
  })
  return files.length === value.length ? files : undefined
}
