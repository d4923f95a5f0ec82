// Where converted weights are kept: a folder for each model's content, a file for each block, and a
// note of the files that they were made from. Lists, checks and removes them;
// blocks/weights/weight-store.ts writes and maps them.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { cancelled } from '../../base/errors.ts'
import { fileDigest, readHead } from './converted-format.ts'
import type { ModelLocation } from '../types.ts'

const SUFFIX = '.weights'
const SOURCE = 'source.json'
/** Most paths of one model. */
const MAX_PATHS = 1024

/** The converted weights of one model. */
export interface ConvertedModel {
  readonly folder: string
  /** Files and folders from which the model was opened. */
  readonly paths: readonly string[]
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[]
  readonly sizeBytes: number
}

export function convertedFolder(cacheDir: string, contentId: string): string {
  return join(cacheDir, 'converted', contentId)
}

export function convertedPath(folder: string, key: string): string {
  return join(folder, `${key}${SUFFIX}`)
}

/** A name for a file that is being written; `sweepUnfinished` can tell whose it is. */
export function unfinishedPath(folder: string, key: string): string {
  return join(folder, `${key}.${process.pid}.${randomUUID()}.new`)
}

/** Creates the folder and notes where its model is. */
export function openConvertedFolder(folder: string, location: ModelLocation): void {
  mkdirSync(folder, { recursive: true })
  const known = readPaths(folder)
  const own = location.paths.map((path) => resolve(path))
  const paths = [...new Set([...known, ...own])].slice(-MAX_PATHS)
  if (paths.length === known.length) return
  const aside = join(folder, `${SOURCE}.${process.pid}.${randomUUID()}.new`)
  writeFileSync(aside, JSON.stringify({ paths }))
  renameSync(aside, join(folder, SOURCE))
}

/** Removes unfinished files of processes that have ended. */
export function sweepUnfinished(folder: string): void {
  for (const name of namesIn(folder)) {
    const pid = /\.(\d+)\.[0-9a-f-]{36}\.new$/.exec(name)?.[1]
    if (pid !== undefined && isGone(Number(pid))) rmSync(join(folder, name), { force: true })
  }
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

export function listConverted(cacheDir: string): ConvertedModel[] {
  const root = join(cacheDir, 'converted')
  return namesIn(root).map((name) => {
    const folder = join(root, name)
    const files = namesIn(folder)
      .filter((file) => file !== SOURCE)
      .map((file) => {
        const path = join(folder, file)
        return { path, sizeBytes: statSync(path, { throwIfNoEntry: false })?.size ?? 0 }
      })
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
    return { folder, paths: readPaths(folder), files, sizeBytes }
  })
}

/** Those that were made from any of `paths`. */
export function convertedOf(
  models: readonly ConvertedModel[],
  paths: readonly string[]
): ConvertedModel[] {
  const wanted = new Set(paths)
  return models.filter((model) => model.paths.some((path) => wanted.has(path)))
}

/** Bytes that all of them take. */
export function convertedBytes(cacheDir: string): number {
  return listConverted(cacheDir).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** Removes what was made from a file of the cache that turned out to be bad. */
export function removeConvertedFrom(path: string): void {
  const cacheDir = dirname(dirname(dirname(path)))
  removeConverted(convertedOf(listConverted(cacheDir), [path]))
}

/** Returns the bytes freed. A process that has them mapped keeps them until it ends. */
export function removeConverted(models: readonly ConvertedModel[]): number {
  for (const { folder } of models) rmSync(folder, { recursive: true, force: true })
  return models.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

export interface VerifyConvertedOptions {
  signal?: AbortSignal | undefined
  /** Called with bytes as they are checked. */
  onbytes?: (bytes: number) => void
}

/**
 * Checks a file against its own head. A bad one is removed, and made again when it is needed.
 * Returns whether it was good.
 * @throws AppError CANCELLED
 */
export async function verifyConverted(
  path: string,
  options: VerifyConvertedOptions = {}
): Promise<boolean> {
  if (!path.endsWith(SUFFIX)) return true // somebody is writing it
  const file = openSync(path, 'r')
  try {
    const steps = checkSteps(file, path)
    for (;;) {
      const step = steps.next()
      if (step.done) {
        if (!step.value) rmSync(path, { force: true })
        return step.value
      }
      options.onbytes?.(step.value)
      if (options.signal?.aborted) throw cancelled('Checking was cancelled')
      await new Promise((resolve) => setImmediate(resolve))
    }
  } finally {
    closeSync(file)
  }
}

function* checkSteps(file: number, path: string): Generator<number, boolean> {
  try {
    const head = readHead(file, fstatSync(file).size)
    const named = path.endsWith(`${Buffer.from(head.key).toString('hex')}${SUFFIX}`)
    return (yield* fileDigest(file, head)) === head.digest && named
  } catch {
    return false
  }
}

function readPaths(folder: string): string[] {
  try {
    const json: unknown = JSON.parse(readFileSync(join(folder, SOURCE), 'utf8'))
    const paths = (json as { paths?: unknown } | null)?.paths
    return Array.isArray(paths) ? paths.filter((path) => typeof path === 'string') : []
  } catch {
    return []
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
