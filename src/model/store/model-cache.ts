// Lists what is in the cache, by users' names; removes models, and checks them against their
// hashes. Knows no network. resolve.ts and repo.ts fill the cache.
import { readdir, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { inUse, notFound } from '../../base/errors.ts'
import { ALIASES, type Alias, findAlias } from '../aliases.ts'
import { unverifiedBytesOf, heldBytesOf } from './cache-usage.ts'
import { unverifiedPath, journalPath } from './chunk-map.ts'
import {
  type ConvertedModel,
  convertedOf,
  listConverted,
  removeConverted
} from './converted-cache.ts'
import { isInUse } from '../../base/files/in-use.ts'
import { tryFileLock } from '../../base/files/file-lock.ts'
import { contentIdName } from '../hub/unverified-model.ts'
import { forgetManifest } from './manifest.ts'
import { parseRepoName, type RepoName, repoText } from '../hub/repo-name.ts'
import {
  listRecords,
  recordPath,
  repoFolder,
  type RepoRecord,
  weightPath
} from '../hub/repo-record.ts'

export interface CachedFile {
  readonly path: string
  readonly hash: string
  readonly sizeBytes: number
  /** Bytes of it that are here. */
  readonly heldBytes: number
  /** Bytes of these whose hash is known only from peers; 0 once the whole file was checked. */
  readonly unverifiedBytes: number
}

export interface CachedModel {
  /** An alias, a repository's name, or the file's name if neither is known. */
  readonly name: string
  readonly files: readonly CachedFile[]
  readonly heldBytes: number
  readonly totalBytes: number
  /** Bytes of converted weights made from it, which can be made again. */
  readonly convertedBytes: number
  /** A process has it open: a server, a chat. */
  readonly isInUse: boolean
  readonly record?: RepoRecord | undefined
}

/** Models that are at least partly in the cache, by name. */
export async function listCachedModels(
  cacheDir: string,
  aliases: readonly Alias[] = ALIASES
): Promise<CachedModel[]> {
  const models: CachedModel[] = []
  const converted = listConverted(cacheDir)
  const known = new Set<string>()
  const add = async (
    name: string,
    files: readonly { path: string; hash: string; sizeBytes: number }[],
    record?: RepoRecord
  ): Promise<void> => {
    const held = await Promise.all(
      files.map(async (file) => ({
        ...file,
        heldBytes: await heldBytesOf(file.path),
        unverifiedBytes: await unverifiedBytesOf(file.path)
      }))
    )
    for (const { path } of files) known.add(path)
    const heldBytes = held.reduce((sum, file) => sum + file.heldBytes, 0)
    if (heldBytes === 0 && !record) return
    const totalBytes = held.reduce((sum, file) => sum + file.sizeBytes, 0)
    const paths = files.map(({ path }) => path)
    const convertedBytes = sumOf(convertedOf(converted, paths))
    const inUse = paths.some(isInUse)
    models.push({
      name,
      files: held,
      heldBytes,
      totalBytes,
      convertedBytes,
      isInUse: inUse,
      record
    })
  }
  for (const record of await listRecords(cacheDir)) {
    const files = record.weights.map((file) => {
      const { hash, sizeBytes } = file
      return { path: weightPath(cacheDir, file), hash, sizeBytes }
    })
    await add(repoText(record.name), files, record)
  }
  for (const alias of aliases) {
    if (alias.kind === 'repo') continue
    const files = alias.files.map(({ name, sha256, sizeBytes }) => {
      return { path: join(cacheDir, 'models', sha256, name), hash: sha256, sizeBytes }
    })
    await add(alias.name, files)
  }
  for (const { path, hash, name } of await filesOfCache(cacheDir)) {
    if (known.has(path)) continue
    const sizeBytes = Bun.file(path).size
    await add(name, [{ path, hash, sizeBytes }])
  }
  return models.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * Models called `name`: an alias, a repository (everything of it that is here), or a name from
 * listCachedModels.
 */
export async function findCachedModels(
  cacheDir: string,
  name: string,
  aliases: readonly Alias[] = ALIASES
): Promise<CachedModel[]> {
  const models = await listCachedModels(cacheDir, aliases)
  const alias = findAlias(name, aliases)
  const wanted: RepoName[] = alias?.kind === 'repo' ? sourcesOf(alias.sources) : []
  const parsed = contentIdName(name) ?? parseRepoName(name)
  if (parsed) wanted.push(parsed)
  const isPlain = parsed !== undefined && repoText(parsed) === parsed.repo
  const found = models.filter((model) => {
    if (model.name === (alias?.name ?? name)) return true
    const of = model.record?.name
    if (of === undefined) return false
    if (isPlain && of.repo === parsed.repo) return true
    return wanted.some((each) => repoText(each) === repoText(of))
  })
  if (found.length > 0) return found
  throw notFound(`Nothing of '${name}' is in the cache`, {
    hint: 'petals models lists what is there'
  })
}

function sourcesOf(
  sources: readonly { repo: string; revision?: string; pick?: string }[]
): RepoName[] {
  return sources.map(({ repo, revision = 'main', pick }) => ({ repo, revision, pick }))
}

/**
 * Removes models and their converted weights from the cache, except files that other models need
 * too. Returns the bytes freed.
 * @throws AppError IN_USE if another process is fetching one of them
 */
export async function removeCachedModels(
  cacheDir: string,
  models: readonly CachedModel[],
  aliases: readonly Alias[] = ALIASES
): Promise<number> {
  const names = new Set(models.map((model) => model.name))
  const others = (await listCachedModels(cacheDir, aliases)).filter(({ name }) => !names.has(name))
  const kept = new Set(others.flatMap((model) => model.files.map((file) => file.path)))
  const gone = models.flatMap(({ files }) => files.map(({ path }) => path))
  const converted = convertedOf(
    listConverted(cacheDir),
    gone.filter((path) => !kept.has(path))
  )
  let freedBytes = removeConverted(converted)
  for (const model of models) {
    for (const file of model.files) {
      if (kept.has(file.path) || !(await Bun.file(file.path).exists())) continue
      await removeFile(file.path)
      await forgetManifest(cacheDir, file.hash)
      freedBytes += file.heldBytes
    }
    if (!model.record) continue
    await rm(recordPath(cacheDir, model.record.name), { force: true })
    const { repo } = model.record.name
    const isLast = !others.some((other) => other.record?.name.repo === repo)
    if (isLast) await rm(repoFolder(cacheDir, repo), { recursive: true, force: true })
  }
  return freedBytes
}

function sumOf(converted: readonly ConvertedModel[]): number {
  return converted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

async function removeFile(path: string): Promise<void> {
  const release = await tryFetchLocks(path)
  if (!release) {
    throw inUse(`'${path}' cannot be removed: another process fetches it`, {
      hint: 'Stop petals join, pull or chat of this model first'
    })
  }
  try {
    const partial = `${path}.partial`
    for (const each of [
      path,
      journalPath(path),
      unverifiedPath(path),
      partial,
      `${partial}.etag`
    ]) {
      await rm(each, { force: true })
    }
  } finally {
    await release()
  }
  // Only if nothing else is in it.
  await rmdir(dirname(path)).catch(() => {})
}

/** Keeps others from fetching into a file; undefined if somebody is doing so. */
export async function tryFetchLocks(path: string): Promise<(() => Promise<void>) | undefined> {
  const regions = (await readdir(dirname(path)).catch(() => []))
    .filter((name) => name.startsWith(`${basename(path)}.`) && /\.\d+\.lock$/.test(name))
    .map((name) => join(dirname(path), name))
  const held: (() => Promise<void>)[] = []
  for (const lock of [`${path}.lock`, ...regions]) {
    const release = await tryFileLock(lock)
    if (release) {
      held.push(release)
      continue
    }
    for (const each of held) await each()
    return undefined
  }
  return async () => {
    for (const each of held) await each()
  }
}

/** Weights, without the files beside them while they are fetched. */
async function filesOfCache(
  cacheDir: string
): Promise<{ path: string; hash: string; name: string }[]> {
  const root = join(cacheDir, 'models')
  const files: { path: string; hash: string; name: string }[] = []
  for (const hash of (await readdir(root).catch(() => [])).sort()) {
    for (const name of (await readdir(join(root, hash)).catch(() => [])).sort()) {
      if (/\.(chunks|unverified|lock|partial|etag|new)$/.test(name)) continue
      files.push({ path: join(root, hash, name), hash, name })
    }
  }
  return files
}
