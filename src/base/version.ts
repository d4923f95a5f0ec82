// What this program is made of: its version and commit, and the versions of its runtimes. In an
// executable scripts/build.ts has fixed them; from source they are read from the project.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { BuildInfo } from './build-info.ts'
import { embedded } from './embedded.ts'

/** Read once: from source git is asked, and servers of this process describe themselves often. */
let known: BuildInfo | undefined

/** The build facts of the running program. */
export function buildInfo(): BuildInfo {
  known ??= embedded?.build ?? readBuildInfo()
  return known
}

/** One line for the program and one for each runtime. */
export function versionText(info: BuildInfo = buildInfo()): string {
  return [
    `petals ${info.version} (${info.commit}, ${info.target})`,
    `bun ${info.bun}`,
    ...(info.onnxruntime === undefined ? [] : [`onnxruntime ${info.onnxruntime}`]),
    `hyperdht ${info.hyperdht}`
  ].join('\n')
}

/** Reads the facts from the source tree; `target` is the target of the build. */
export function readBuildInfo(target = `${process.platform}-${process.arch}`): BuildInfo {
  const root = join(import.meta.dir, '..', '..')
  return {
    version: versionOf(join(root, 'package.json')),
    commit: readCommit(root),
    target,
    bun: Bun.version,
    onnxruntime: versionOf('onnxruntime-node/package.json'),
    hyperdht: versionOf('hyperdht/package.json')
  }
}

function versionOf(manifest: string): string {
  const content: unknown = createRequire(import.meta.url)(manifest)
  const version = (content as { version?: unknown }).version
  return typeof version === 'string' ? version : 'unknown'
}

function readCommit(root: string): string {
  try {
    const git = (...args: string[]): string => {
      const { success, stdout } = Bun.spawnSync(['git', ...args], { cwd: root, stderr: 'ignore' })
      if (!success) throw new Error('Not a git tree')
      return stdout.toString().trim()
    }
    const commit = git('rev-parse', '--short=12', 'HEAD')
    return git('status', '--porcelain', '--untracked-files=no') ? `${commit}-dirty` : commit
  } catch {
    return 'unknown'
  }
}
