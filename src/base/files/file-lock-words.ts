// A lock where the kernel has none: whoever creates the file has it, keeps its time fresh, and
// removes it. A holder that died is noticed by its process, or by a time that stands still: a
// process is told by the machine's start, its namespace and its own start, since a number alone is
// given again, in a container at once. file-lock.ts calls it.
import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { type Clock, systemClock } from '../clock.ts'
import { fileError } from './file-error.ts'

/** Takes `path` if nobody holds it: what gives it back, or undefined. */
export async function tryWordLock(
  path: string,
  options: { clock?: Clock; staleMs?: number } = {}
): Promise<(() => Promise<void>) | undefined> {
  const { clock = systemClock, staleMs = 60_000 } = options
  const content = holderWords()
  while (!(await tryCreate(path, content))) {
    if (!(await removeStale(path, clock.wall() - staleMs))) return undefined
  }
  let held = true
  let stop = (): void => {}
  const refresh = (): void => {
    stop = clock.after(
      staleMs / 3,
      () => {
        const now = new Date(clock.wall())
        // A refresh that fails costs nothing now; the lock grows stale if it goes on.
        utimes(path, now, now).catch(() => {})
        if (held) refresh()
      },
      true
    )
  }
  refresh()
  return async () => {
    held = false
    stop()
    if ((await readOrUndefined(path)) === content) await unlink(path).catch(() => {})
  }
}

async function tryCreate(path: string, content: string): Promise<boolean> {
  try {
    await writeFile(path, content, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw fileError(`'${path}' cannot be made`, error)
  }
}

/** Takes an abandoned lock away; true when there may be none now. */
async function removeStale(path: string, oldestMs: number): Promise<boolean> {
  const content = await readOrUndefined(path)
  const times = await stat(path).catch(() => undefined)
  if (content === undefined || times === undefined) return true
  if (times.mtimeMs >= oldestMs && !isDead(content)) return false
  // Renaming gives it to exactly one of those who found it stale; what was renamed is then looked
  // at again, since somebody may have put a new lock there in between.
  const aside = `${path}.${randomUUID()}`
  try {
    await rename(path, aside)
  } catch {
    return true
  }
  if ((await readOrUndefined(aside)) !== content) await rename(aside, path).catch(() => {})
  else await unlink(aside).catch(() => {})
  return true
}

/** Who holds a lock, in a form that differs each time. */
export function holderWords(): string {
  return JSON.stringify({
    ...placeOf(),
    pid: process.pid,
    start: startOf(process.pid),
    token: randomUUID()
  })
}

/** Whether the holder lived where we do and is not there any more. Elsewhere only time tells. */
function isDead(content: string): boolean {
  try {
    const { host, boot, space, pid, start } = JSON.parse(content) as Record<string, unknown>
    const own = placeOf()
    if (host !== own.host || boot !== own.boot || space !== own.space) return false
    if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 1) return false
    process.kill(pid, 0)
    return start !== startOf(pid)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/**
 * The machine since it was started, and the part of it whose processes have numbers of their own.
 */
function placeOf(): { host: string; boot: string; space: string } {
  return {
    host: hostname(),
    boot: wordOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    space: wordOf(() => readlinkSync('/proc/self/ns/pid'))
  }
}

/**
 * When a process began, in the kernel's ticks: the 22nd word, behind a name that may hold anything.
 */
function startOf(pid: number): string {
  const rest =
    wordOf(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
      .split(') ')
      .at(-1) ?? ''
  return rest.split(' ')[19] ?? ''
}

function wordOf(read: () => string): string {
  try {
    return read()
  } catch {
    return ''
  }
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined)
}
