// Small files of secrets: written whole for the owner's eyes alone, refused when others may read
// them. Knows nothing of what is in them.
import { mkdir, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AppError, corrupt, denied, inUse } from '../../base/errors.ts'
import { fileError, folderError } from '../../base/files/file-error.ts'
import { isOpenMode, keepsModes } from '../../base/files/ownership.ts'
import { createWhole, writeWhole } from '../../base/files/whole-file.ts'

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
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    if (options.fresh !== true) return await writeWhole(path, content)
    if (!(await createWhole(path, content))) throw inUse(`'${path}' is there already`)
  } catch (cause) {
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
    if (options.strict !== false && isOpenMode(mode) && keepsModes(dirname(path))) {
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

function codeOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? String(cause)
}
