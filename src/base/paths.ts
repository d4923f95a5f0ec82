// Where files live on disk, as is usual on each platform; PETALS_HOME moves all of it.
import { homedir, platform } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'

export interface Paths {
  /** What cannot be made again: identity, invites, saved sessions. */
  data: string
  /** What can be made again: downloads, unpacked libraries, converted weights. */
  cache: string
}

/** The data and cache folders for an environment; creates nothing. */
export function resolvePaths(
  env: Record<string, string | undefined>,
  home: string = homedir()
): Paths {
  if (env['PETALS_HOME']) {
    const own = resolve(env['PETALS_HOME'])
    return { data: own, cache: join(own, 'cache') }
  }
  if (platform() === 'darwin') {
    return {
      data: join(home, 'Library', 'Application Support', 'petals'),
      cache: join(home, 'Library', 'Caches', 'petals')
    }
  }
  if (platform() === 'win32') {
    const local = env['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local')
    return { data: join(local, 'petals'), cache: join(local, 'petals', 'cache') }
  }
  return {
    data: join(absolute(env['XDG_DATA_HOME']) ?? join(home, '.local', 'share'), 'petals'),
    cache: join(absolute(env['XDG_CACHE_HOME']) ?? join(home, '.cache'), 'petals')
  }
}

/** The XDG specification says that relative paths are ignored. */
function absolute(path: string | undefined): string | undefined {
  return path && isAbsolute(path) ? path : undefined
}
