// Where things live on disk, by the platform's own habit; PETALS_HOME moves all of it.
import { homedir, platform } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'

export interface Paths {
  /** Identity, invites, saved sessions: what cannot be made again. */
  data: string
  /** Downloads, extracted libraries, converted weights: what can. */
  cache: string
}

/** Resolves the data and cache folders from an environment; creates nothing. */
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

/** The XDG specification wants relative paths ignored. */
function absolute(path: string | undefined): string | undefined {
  return path && isAbsolute(path) ? path : undefined
}
