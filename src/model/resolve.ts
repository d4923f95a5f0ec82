// Turns the user's name for a model into files on this disk: fetches an alias or a hub's repository
// as far as is needed to open it, or looks at a path. Knows formats only by file names;
// open-model.ts opens what is found.
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type AppError, badInput, notFound, toAppError, unavailable } from '../base/errors.ts'
import { silentLog } from '../base/log.ts'
import { ALIASES, type Alias, findAlias, nearestAlias, type RepoAlias } from './aliases.ts'
import { embeddedPath } from './embedded.ts'
import { fetchFile } from './hub/fetch-file.ts'
import { openMappedFile } from './formats/mapped-file.ts'
import { isSilence } from './hub/bring-chunks.ts'
import { hubSnapshot } from './hub/hub.ts'
import { contentIdName } from './hub/unverified-model.ts'
import { type FoundModel, openRepo, type RepoOptions } from './hub/repo.ts'
import { parseRepoName, type RepoName, repoText } from './hub/repo-name.ts'
import { readRecord } from './hub/repo-record.ts'
import type { ModelLocation } from './types.ts'

export interface ResolveOptions extends RepoOptions {
  /** Default: the built-in table. */
  aliases?: readonly Alias[]
}

const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/
const MAX_SHARDS = 1024
/** Looks like the path of a file that does not exist, not like a repository. */
const FILE_NAME = /\.(gguf|bin|safetensors|json)$/i

/**
 * Finds or fetches the model called `name`: an alias, a hub's `owner/name[@revision][:file]`, a
 * content id, a GGUF file (any of its shards), a llama2.c checkpoint, or a folder.
 * @throws AppError NOT_FOUND, BAD_INPUT, DENIED, CORRUPT, UNAVAILABLE, CANCELLED
 */
export async function resolveModel(name: string, options: ResolveOptions): Promise<ModelLocation> {
  return (await findModel(name, options)).location
}

/** As resolveModel, together with the fetcher of tensors that are not here yet. */
export async function findModel(name: string, options: ResolveOptions): Promise<FoundModel> {
  const aliases = options.aliases ?? ALIASES
  const alias = findAlias(name, aliases)
  if (alias?.kind === 'repo') return await fromRepos(alias, options)
  if (alias) {
    const paths: string[] = []
    for (const file of alias.files) paths.push(await fetchFile(alias.name, file, options))
    return { location: { kind: alias.kind, paths } }
  }
  const path = resolve(name)
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) return { location: await resolveFolder(path) }
  if (found?.isFile()) return { location: await resolveFile(path, aliases, options) }
  const byId = contentIdName(name)
  if (byId) return await openRepo(byId, options)
  const repo = FILE_NAME.test(name) ? undefined : parseRepoName(name)
  if (repo) return await openRepoOrSnapshot(repo, options)
  const nearest = nearestAlias(name, aliases)
  const list = aliases.map((each) => each.name).join(', ')
  throw notFound(`There is no model '${name}': it is no alias, no file and no folder`, {
    hint:
      nearest === undefined
        ? `Give owner/name of a hub, a GGUF file, a folder, or one of: ${list}`
        : `Did you mean '${nearest}'? Known are: ${list}`
  })
}

/**
 * The first source that allows access. A source that only does not answer is not skipped in favour
 * of one that was never used.
 */
async function fromRepos(alias: RepoAlias, options: ResolveOptions): Promise<FoundModel> {
  const { log = silentLog } = options
  const failures: AppError[] = []
  let isSilent = false
  for (const [i, { repo, revision = 'main', pick }] of alias.sources.entries()) {
    const name: RepoName = { repo, revision, pick }
    const isKnown = (await readRecord(options.cacheDir, name)) !== undefined
    if (isSilent && !isKnown && !options.peers) continue
    try {
      const found = await openRepoOrSnapshot(name, options)
      if (i > 0) {
        log.info(`'${alias.name}' is taken from ${repoText(name)}: ${failures.at(-1)?.message}`)
      }
      return found
    } catch (error) {
      const failure = toAppError(error)
      if (failure.code === 'CANCELLED' || failure.code === 'INTERNAL') throw failure
      failures.push(failure)
      isSilent ||= isSilence(failure.code)
    }
  }
  const [first] = failures
  if (first && failures.length === 1) throw first
  throw unavailable(
    `'${alias.name}' cannot be had from anywhere: ${failures.map((each) => each.message).join('; ')}`,
    { hint: first?.hint ?? 'Look at HF_ENDPOINT and HF_TOKEN', retryable: false }
  )
}

/** If the hub does not answer, what its own tools have downloaded. */
async function openRepoOrSnapshot(name: RepoName, options: ResolveOptions): Promise<FoundModel> {
  try {
    return await openRepo(name, options)
  } catch (error) {
    const home = options.hub?.home
    if (home === undefined || !isSilence(toAppError(error).code)) throw error
    const folder = await hubSnapshot(home, name.repo, name.revision)
    if (folder === undefined) throw error
    const location = await snapshotLocation(folder, name.pick).catch(() => undefined)
    if (!location) throw error
    const { log = silentLog } = options
    log.info(`The hub does not answer; '${repoText(name)}' is taken from '${folder}'`)
    return { location, word: name.repo }
  }
}

async function snapshotLocation(folder: string, pick: string | undefined): Promise<ModelLocation> {
  if (pick === undefined) return await resolveFolder(folder)
  const names = (await readdir(folder)).filter((name) => name.endsWith('.gguf')).toSorted()
  const first = names.find((name) => name === pick) ?? names.find((name) => name.includes(pick))
  if (first === undefined) throw notFound(`'${folder}' has no GGUF '${pick}'`)
  return await shardsOf(join(folder, first))
}

async function resolveFolder(path: string): Promise<ModelLocation> {
  const names = (await readdir(path)).sort()
  if (names.includes('config.json') && names.some((name) => name.endsWith('.safetensors'))) {
    return { kind: 'folder', paths: [path] }
  }
  const firsts = names.filter((name) => {
    const shard = SHARD.exec(name)
    return name.endsWith('.gguf') && (shard === null || Number(shard[2]) === 1)
  })
  const [first] = firsts
  if (first !== undefined && firsts.length === 1) return await shardsOf(join(path, first))
  if (firsts.length > 1) {
    throw badInput(`'${path}' holds ${firsts.length} models`, {
      hint: `Name one of them: ${firsts.slice(0, 5).join(', ')}`
    })
  }
  throw notFound(`'${path}' holds no model`, {
    hint: 'A model is a GGUF file, or config.json with safetensors beside it'
  })
}

async function resolveFile(
  path: string,
  aliases: readonly Alias[],
  options: ResolveOptions
): Promise<ModelLocation> {
  const name = basename(path)
  if (name === 'config.json' || name.endsWith('.safetensors'))
    return await resolveFolder(dirname(path))
  if (name.endsWith('.bin')) {
    return { kind: 'llama2c', paths: [path, await vocabularyOf(path, aliases, options)] }
  }
  const file = openMappedFile(path)
  try {
    const magic = file.bytes(0, Math.min(4, file.sizeBytes))
    if (Buffer.from(magic).toString('latin1') === 'GGUF') return await shardsOf(path)
  } finally {
    file.close()
  }
  throw badInput(`'${path}' is no model that is known: it does not begin with GGUF`, {
    hint: 'GGUF files, llama2.c checkpoints (.bin) and folders with safetensors are known'
  })
}

/** All shards of a model, given one of them. */
async function shardsOf(path: string): Promise<ModelLocation> {
  const shard = SHARD.exec(basename(path))
  const count = Number(shard?.[3] ?? 1)
  if (!shard || count < 2) return { kind: 'gguf', paths: [path] }
  if (count > MAX_SHARDS) throw badInput(`'${path}' says that it is one of ${count} shards`)
  const five = (value: number): string => String(value).padStart(5, '0')
  const paths = Array.from({ length: count }, (_, i) =>
    join(dirname(path), `${shard[1]}-${five(i + 1)}-of-${five(count)}.gguf`)
  )
  for (const each of paths) {
    if (!(await stat(each).catch(() => undefined))) {
      throw notFound(`'${each}' is missing: the model has ${count} shards`)
    }
  }
  return { kind: 'gguf', paths }
}

/**
 * The tokenizer of a llama2.c checkpoint: the file beside it, or the built-in one if the size
 * matches.
 */
async function vocabularyOf(
  path: string,
  aliases: readonly Alias[],
  options: ResolveOptions
): Promise<string> {
  const file = openMappedFile(path)
  let size = 0
  try {
    const header = file.bytes(0, 28)
    size = Math.abs(new DataView(header.buffer, header.byteOffset, 28).getInt32(20, true))
  } finally {
    file.close()
  }
  const stem = basename(path, '.bin')
  const names = [`${stem}.tokenizer.bin`, `tok${size}.bin`, 'tokenizer.bin']
  for (const name of names) {
    const candidate = join(dirname(path), name)
    if (await stat(candidate).catch(() => undefined)) return candidate
  }
  const builtIn = aliases
    .flatMap((alias) => (alias.kind === 'repo' ? [] : alias.files))
    .find((each) => each.name === `tok${size}.bin`)
  if (builtIn && embeddedPath(builtIn.name) !== undefined) {
    return await fetchFile(builtIn.name, builtIn, options)
  }
  throw notFound(`'${path}' has no tokenizer beside it`, {
    hint: `Put it there as one of: ${names.join(', ')}`
  })
}
