// Writes a private file as a whole: after a crash either the old one is there or none. Knows that
// some file systems have no hard links, and some no modes.
import { chmod, link, open, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { withFileLock } from './file-lock.ts'

/** Replaced by tests. */
export interface FileCalls {
  link(from: string, to: string): Promise<void>
  chmod(path: string, mode: number): Promise<void>
}

const systemCalls: FileCalls = { link, chmod }

/** What a file system answers that has no hard links (FAT, some network shares, Android). */
const NO_LINKS: ReadonlySet<string> = new Set([
  'EPERM',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EMLINK'
])

/** Makes the file, or replaces it. @throws Error of the file system */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  calls: FileCalls = systemCalls
): Promise<void> {
  const draft = await writeDraft(path, content, calls)
  await rename(draft, path).catch(async (error: unknown) => {
    await unlink(draft).catch(() => {})
    throw error
  })
}

/**
 * Makes the file; false when there is one already, which stays.
 * @throws Error of the file system
 */
export async function createWhole(
  path: string,
  content: string | Uint8Array,
  calls: FileCalls = systemCalls
): Promise<boolean> {
  const draft = await writeDraft(path, content, calls)
  try {
    await calls.link(draft, path)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    if (!NO_LINKS.has(codeOf(error))) throw error
    // A rename would replace what is there: one process at a time looks and renames.
    return await withFileLock(`${path}.lock`, async () => {
      if (await stat(path).catch(() => undefined)) return false
      await rename(draft, path)
      return true
    })
  } finally {
    await unlink(draft).catch(() => {})
  }
}

async function writeDraft(
  path: string,
  content: string | Uint8Array,
  calls: FileCalls
): Promise<string> {
  const draft = `${path}.${process.pid}.${crypto.randomUUID().slice(0, 8)}`
  await writeFile(draft, content, { mode: 0o600, flag: 'wx' })
  try {
    // A umask cannot widen the mode, but a strange one could narrow it to nothing. Where modes
    // cannot be set, the mount decides who reads.
    await calls.chmod(draft, 0o600).catch(() => {})
    const file = await open(draft, 'r+')
    await file.sync().finally(() => file.close())
    return draft
  } catch (error) {
    await unlink(draft).catch(() => {})
    throw error
  }
}

function codeOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? ''
}
