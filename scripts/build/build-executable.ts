// Bundles entry files and the native libraries of a target into one executable. scripts/build.ts
// calls it, and tests do with an entry of their own. Knows the packages' layouts, not what the
// program does.
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, resolve } from 'node:path'
import type { NativeSet } from '../../src/base/files/native-files.ts'
import { ortLibraryFiles, ortPackageDir } from '../../src/blocks/ort/library.ts'
import { embeddedModule, nativeFile, packNativeSet } from './build-embed.ts'
import { withoutGlibc } from './elf.ts'
import { kernelFiles } from './kernels.ts'
import { factsOf, type Target } from './targets.ts'

export interface ExecutableOptions {
  target: Target
  outfile: string
  /**
   * The first runs. All lie flat in the executable under their own names, so that
   * `new URL('./worker.ts', import.meta.url)` finds the worker compiled and from source.
   */
  entries: readonly string[]
  /**
   * Whether functions are stored compiled; measured in scripts/bench/bench-start.ts. Default true.
   */
  bytecode?: boolean
}

const root = join(import.meta.dir, '..', '..')
const cache = join(root, '.cache', 'build')

/** Builds `outfile`; it appears whole or not at all. @throws Error with the bundler's messages */
export async function buildExecutable(options: ExecutableOptions): Promise<void> {
  const { target, entries, bytecode = true } = options
  const outfile = resolve(options.outfile)
  const module = await embeddedSource(target)
  mkdirSync(dirname(outfile), { recursive: true })
  // Beside it, so that a rename is enough; under its own name, which stack traces show.
  const folder = mkdtempSync(join(dirname(outfile), '.build-'))
  const temporary = join(folder, basename(outfile))
  try {
    const result = await Bun.build({
      entrypoints: [...entries],
      // Identifiers stay: a stack trace of a user must be legible.
      minify: { whitespace: true, syntax: true, identifiers: false },
      format: 'esm',
      bytecode,
      naming: { entry: '[name].[ext]' },
      define: { 'process.env.NODE_ENV': '"production"' },
      plugins: [embedPlugin(module)],
      compile: {
        target: `bun-${target}`,
        outfile: temporary,
        // Files in the folder where somebody starts it must not change what it does.
        autoloadDotenv: false,
        autoloadBunfig: false
      },
      throw: false
    })
    if (!result.success) throw new Error(result.logs.map(String).join('\n'))
    renameSync(temporary, outfile)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The module that takes the place of src/base/embedded.ts. */
async function embeddedSource(target: Target): Promise<string> {
  const { platform, arch, isMusl, hasOnnxruntime } = factsOf(target)
  const ortFolder = ortPackageDir(platform, arch)
  const ortFiles = hasOnnxruntime ? ortLibraryFiles(platform, arch) : []
  const addon = await nativeFile(
    join(sodiumFolder(), 'prebuilds', `${platform}-${arch}`, 'sodium-native.node'),
    isMusl ? withoutGlibc : undefined
  )
  const kernels = await kernelFiles({ platform, arch })
  return embeddedModule(target, {
    ...(hasOnnxruntime
      ? { onnxruntime: await pack(ortFiles.map((name) => join(ortFolder, name))) }
      : {}),
    sodium: await packNativeSet([addon], cache),
    kernels: await pack(kernels)
  })
}

async function pack(paths: readonly string[]): Promise<NativeSet> {
  return packNativeSet(await Promise.all(paths.map((path) => nativeFile(path))), cache)
}

/** sodium-native lies beside sodium-universal, which is what depends on it. */
function sodiumFolder(): string {
  const universal = createRequire(import.meta.url).resolve('sodium-universal/package.json')
  return dirname(createRequire(universal).resolve('sodium-native/package.json'))
}

/**
 * Replaces the two modules that look for files in node_modules: base/embedded.ts, and the loader of
 * sodium-native, whose `require-addon` searches the disk of the machine that built it.
 */
function embedPlugin(module: string): Bun.BunPlugin {
  return {
    name: 'embed',
    setup(build) {
      build.onLoad({ filter: /[\\/]src[\\/]base[\\/]embedded\.ts$/ }, () => ({
        contents: module,
        loader: 'ts'
      }))
      build.onLoad({ filter: /[\\/]sodium-native[\\/]binding\.js$/ }, () => ({
        contents: `module.exports = require(${JSON.stringify(join(root, 'src/cli/sodium-addon.ts'))}).loadSodiumAddon()`,
        loader: 'js'
      }))
    }
  }
}
