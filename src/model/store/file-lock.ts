// A lock between processes: whoever creates the file has it, keeps its time fresh, and removes it.
// A holder that died is noticed by its process id on this host, or by a time that stands still.
import { randomUUID } from 'node:crypto'
import { readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { type Clock, sleep, systemClock } from '../../base/clock.ts'
import { unavailable } from '../../base/errors.ts'

export interface LockOptions {
  clock?: Clock
  signal?: AbortSignal | undefined
  /** Called once when somebody else holds it. */
  onwait?: () => void
  /** How often to look again. Default 250 ms. */
  pollMs?: number
  /** A lock whose time is older is abandoned. Default 60,000 ms; holders refresh at a third of it. */
  staleMs?: number
}

/** Runs `work` while holding `path`. @throws AppError CANCELLED while waiting */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  options: LockOptions = {}
): Promise<T> {
  const { clock = systemClock, signal, onwait, pollMs = 250 } = options
  let release = await tryFileLock(path, options)
  if (!release) onwait?.()
  while (!release) {
    await sleep(pollMs, { clock, ...(signal ? { signal } : {}) })
    release = await tryFileLock(path, options)
  }
  try {
    return await work()
  } finally {
    await release()
  }
}

/** Takes `path` if nobody holds it: what gives it back, or undefined. */
export async function tryFileLock(
  path: string,
  options: Pick<LockOptions, 'clock' | 'staleMs'> = {}
): Promise<(() => Promise<void>) | undefined> {
  const { clock = systemClock, staleMs = 60_000 } = options
  const content = JSON.stringify({ host: hostname(), pid: process.pid, token: randomUUID() })
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
    throw unavailable(`'${path}' cannot be made: ${(error as Error).message}`, { cause: error })
  }
}

/** Takes an abandoned lock away; true when there may be none now. */
async function removeStale(path: string, oldestMs: number): Promise<boolean> {
  const content = await readOrUndefined(path)
  const times = await stat(path).catch(() => undefined)
  if (content === undefined || times === undefined) return true
  if (times.mtimeMs >= oldestMs && !isDead(content)) return false
  // Renaming gives it to exactly one of those who found it stale; what was renamed is then looked at
  // again, since somebody may have put a new lock there in between.
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

function isDead(content: string): boolean {
  try {
    const { host, pid } = JSON.parse(content) as { host?: unknown; pid?: unknown }
    if (host !== hostname() || typeof pid !== 'number' || !Number.isInteger(pid) || pid < 1) {
      return false
    }
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(() => undefined)
}
