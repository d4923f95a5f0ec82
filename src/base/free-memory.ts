// How much memory this process may still take: what the system has free, within the limit of a
// container. Knows nothing of its use.
import { readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'

/** A file's text; undefined when it cannot be read. */
export type ReadText = (path: string) => string | undefined

/** Where the kernel tells the limit and the use, by version of control groups. */
const GROUPS = [
  { limit: 'memory.max', used: 'memory.current', at: (group: string) => `/sys/fs/cgroup${group}` },
  {
    limit: 'memory.limit_in_bytes',
    used: 'memory.usage_in_bytes',
    at: (group: string) => `/sys/fs/cgroup/memory${group}`
  }
] as const

/** Bytes that can be taken without making the system swap or the container's limit strike. */
export function freeMemoryBytes(
  systemBytes: number = freemem(),
  read: ReadText = readText
): number {
  let free = systemBytes
  for (const folder of groupFolders(read)) {
    const limit = Number(read(`${folder.path}/${folder.limit}`))
    const used = Number(read(`${folder.path}/${folder.used}`))
    // 'max' is no number; version 1 writes a number larger than any memory.
    if (limit > 0 && used >= 0) free = Math.min(free, limit - used + reclaimable(folder.path, read))
  }
  return Math.max(0, free)
}

/** Memory of the machine, or of the container that this process is in, in bytes. */
export function wholeMemoryBytes(
  systemBytes: number = totalmem(),
  read: ReadText = readText
): number {
  const limits = groupFolders(read).map(({ path, limit }) => Number(read(`${path}/${limit}`)))
  return Math.min(systemBytes, ...limits.filter((bytes) => bytes > 0))
}

/** The process's group and its parents: each may have a limit. */
function groupFolders(read: ReadText): { path: string; limit: string; used: string }[] {
  const lines = (read('/proc/self/cgroup') ?? '').split('\n').slice(0, 64)
  return lines.flatMap((line) => {
    const [number, controllers, group = ''] = line.split(':')
    const isSecond = number === '0' && controllers === ''
    if (!isSecond && !controllers?.split(',').includes('memory')) return []
    const { at, limit, used } = GROUPS[isSecond ? 0 : 1]
    const parts = group.split('/').filter((part) => part !== '' && part !== '..')
    // Inside a container the path of the group may not exist; its root is then the group.
    return Array.from({ length: parts.length + 1 }, (_, depth) => {
      const above = parts.slice(0, depth).map((part) => `/${part}`)
      return { path: at(above.join('')), limit, used }
    })
  })
}

/** Cached pages of files count as used, but the system gives them back when memory is needed. */
function reclaimable(folder: string, read: ReadText): number {
  const text = read(`${folder}/memory.stat`) ?? ''
  const bytes = /^(?:total_)?inactive_file (\d+)$/m.exec(text)?.[1]
  return Number(bytes ?? 0)
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
