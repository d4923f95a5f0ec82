// The kernels' libraries in a source tree: the first process that finds none for these sources
// compiles them, while others wait for it. An executable carries its own and never comes here.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { unavailable } from '../base/errors.ts'
import type { KernelTarget } from './libraries.ts'

const ROOT = join(import.meta.dir, '..', '..')
const SCRIPT = join('scripts', 'build', 'kernels.ts')
/** zig, if setup.sh has installed it; otherwise the system's compiler is used. */
export const ZIG_FOLDER: string = join('.cache', 'tools', 'zig', 'ziglang')

/** The folder for libraries of these sources by this compiler. */
export function compiledFolder(target: KernelTarget, root: string = ROOT): string {
  const sources = join(root, 'src', 'kernels', 'c')
  const hash = new Bun.CryptoHasher('sha256')
  for (const name of filesBelow(sources)) {
    hash.update(`${name}\0`).update(readFileSync(join(sources, name)))
  }
  for (const path of [SCRIPT, join('src', 'kernels', 'libraries.ts')]) {
    hash.update(readFileSync(join(root, path)))
  }
  const compiler = existsSync(join(root, ZIG_FOLDER)) ? 'zig' : 'cc'
  const name = `${target.platform}-${target.arch}-${compiler}-${hash.digest('hex').slice(0, 16)}`
  return join(root, '.cache', 'kernels', name)
}

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => /\.[ch]$/.test(name))
    .sort()
}

/** The folder with this machine's libraries. @throws AppError UNAVAILABLE if they do not compile */
export function developmentLibraries(): string {
  const folder = compiledFolder(process)
  if (existsSync(folder)) return folder
  const child = Bun.spawnSync([process.execPath, join(ROOT, SCRIPT)], {
    cwd: ROOT,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe'
  })
  if (child.exitCode === 0 && existsSync(folder)) return folder
  const reason = child.stderr
    .toString()
    .trim()
    .replace(/^kernels: /, '')
  throw unavailable(`The kernels cannot be compiled: ${reason || `exit code ${child.exitCode}`}`, {
    hint: 'Run sh scripts/setup.sh, which brings zig where Python has pip, or install gcc or clang',
    retryable: false
  })
}
