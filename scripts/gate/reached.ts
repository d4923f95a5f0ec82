// Which files of this project a file runs: what it imports, directly or not, and the workers that
// those start. Types are no such imports. Reads the disk; knows nothing of tests.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

const WORKER_URL = /new URL\(\s*'(\.[^']+\.ts)'\s*,\s*import\.meta\.url/g
const STARTS_PROGRAMS = /\b(?:Bun\.spawn(?:Sync)?|child_process)\b/

export interface Reached {
  /** Files by path from the root, with slashes; the first one is the file itself. */
  readonly files: ReadonlySet<string>
  /** Those of them that start programs, of which nothing is known. */
  readonly starters: readonly string[]
}

/** What `file`, a path from `root`, runs. */
export function reachedFrom(root: string, file: string): Reached {
  const transpiler = new Bun.Transpiler({ loader: 'ts' })
  const files = new Set([file])
  const starters: string[] = []
  for (const path of files) {
    const text = readFileSync(join(root, path), 'utf8')
    if (STARTS_PROGRAMS.test(text)) starters.push(path)
    const named = [
      ...transpiler.scanImports(text).map((one) => one.path),
      ...[...text.matchAll(WORKER_URL)].map((hit) => hit[1] ?? '')
    ]
    for (const name of named) {
      if (!name.startsWith('.') || !name.endsWith('.ts')) continue
      const target = normalize(join(dirname(path), name)).replaceAll('\\', '/')
      if (existsSync(join(root, target))) files.add(target)
    }
  }
  return { files, starters }
}
