// Small files of secrets: written whole for the owner's eyes alone, refused when others may read them.
// Knows nothing of what is in them.
import { chmod, link, mkdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { platform } from 'node:os'
import { dirname } from 'node:path'
import { AppError, corrupt, denied, inUse } from '../../base/errors.ts'
import { fileError, folderError } from '../../base/file-error.ts'

export interface WriteOptions {
  /** Fail when there is a file already. Default: replace it. */
  fresh?: boolean
}

/** @throws AppError IN_USE when a fresh one is there already, UNAVAILABLE */
export async function writePrivate(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions = {}
): Promise<void> {
  const draft = `${path}.${process.pid}.${crypto.randomUUID().slice(0, 8)}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFile(draft, content, { mode: 0o600, flag: 'wx' })
    await chmod(draft, 0o600)
    if (options.fresh === true) await link(draft, path).finally(() => unlink(draft))
    else await rename(draft, path)
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') throw inUse(`'${path}' is there already`, { cause })
    throw folderError(`'${path}' cannot be written`, cause, {
      hint: 'Set PETALS_HOME, or name a file, where it can be'
    })
  }
}

export interface ReadOptions {
  /** A longer file is not what it should be. */
  maxBytes: number
  /** Refuse a file that others may read. Default true. */
  strict?: boolean
}

/** Undefined when there is no such file. @throws AppError DENIED, CORRUPT or UNAVAILABLE */
export async function readPrivate(path: string, options: ReadOptions): Promise<Buffer | undefined> {
  try {
    const { mode, size } = await stat(path)
    if (options.strict !== false && isOpen(mode)) {
      throw denied(`'${path}' is refused: others may read or change it`, {
        hint: `If it is still yours alone: chmod 600 '${path}'`
      })
    }
    if (size > options.maxBytes) throw corrupt(`'${path}' is refused: it is too long`)
    return await readFile(path)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    if (codeOf(cause) === 'ENOENT') return undefined
    throw fileError(`'${path}' cannot be read`, cause)
  }
}

/** Whether others than the owner may read or change a file of this mode. */
export function isOpen(mode: number): boolean {
  return platform() !== 'win32' && (mode & 0o077) !== 0
}

function codeOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? String(cause)
}
