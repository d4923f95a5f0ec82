// bun scripts/build/kernels.ts
// Compiles src/kernels/c for this machine into the folder of its sources below .cache, where
// development runs look for it; scripts/build.ts has it compiled for any target. zig does it
// (setup.sh brings it), and for this machine alone the system's compiler where there is no zig.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { withFileLock } from '../../src/base/files/file-lock.ts'
import { compiledFolder, ZIG_FOLDER } from '../../src/kernels/development.ts'
import type { Variant } from '../../src/kernels/kernels.ts'
import { type KernelTarget, libraryName, SOURCES, variantsOf } from '../../src/kernels/libraries.ts'

const root = join(import.meta.dir, '..', '..')
const sources = join(root, 'src', 'kernels', 'c')

/** scripts/setup.sh installs this very version. */
const ZIG_VERSION = '0.16.0'

const KEPT_FOLDERS = 4

const FLAGS = [
  '-std=c11',
  '-O3',
  // A product and a sum are one operation only where the source says so.
  '-ffp-contract=off',
  '-fno-math-errno',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-sanitize=all',
  '-fPIC',
  '-Wall',
  '-Wextra',
  '-Wno-psabi',
  '-nostdlib',
  '-shared',
  '-s'
] as const

/** What zig and other compilers call the same instructions. */
const INSTRUCTIONS: Readonly<Record<string, { zig: string[]; cc: string[] }>> = {
  'x64 plain': { zig: ['-mcpu=x86_64'], cc: ['-march=x86-64'] },
  'x64 avx2': { zig: ['-mcpu=x86_64_v3'], cc: ['-march=x86-64-v3'] },
  'x64 avx512': {
    zig: ['-mcpu=x86_64_v4+avx512vnni', '-mprefer-vector-width=512'],
    cc: ['-march=x86-64-v4', '-mavx512vnni', '-mprefer-vector-width=512']
  },
  'x64 amx': {
    zig: ['-mcpu=x86_64_v4+avx512vnni+amx_tile+amx_int8', '-mprefer-vector-width=512'],
    cc: [
      '-march=x86-64-v4',
      '-mavx512vnni',
      '-mamx-tile',
      '-mamx-int8',
      '-mprefer-vector-width=512'
    ]
  },
  'arm64 plain': { zig: ['-mcpu=generic'], cc: ['-march=armv8-a'] },
  'arm64 neon': { zig: ['-mcpu=generic+dotprod'], cc: ['-march=armv8.2-a+dotprod'] },
  'arm64 i8mm': {
    zig: ['-mcpu=generic+dotprod+i8mm'],
    cc: ['-march=armv8.2-a+dotprod+i8mm']
  }
}

const ZIG_TARGETS: Readonly<Record<string, string[]>> = {
  // Neither's C library is linked: the same file loads under glibc and musl.
  linux: ['linux-gnu.2.17', '-Wl,-Bsymbolic'],
  darwin: ['macos.11.0', '-Wl,-undefined,dynamic_lookup'],
  win32: ['windows-gnu', '-lkernel32']
}

/**
 * Compiles all variants of a target into `folder`; their paths. @throws Error with the compiler's
 * words
 */
export async function compileKernels(target: KernelTarget, folder: string): Promise<string[]> {
  const command = compilerFor(target)
  mkdirSync(folder, { recursive: true })
  return Promise.all(
    variantsOf(target.arch).map(async (variant) => {
      const path = join(folder, libraryName(variant, target.platform))
      await compile([...command(variant), ...FLAGS, ...SOURCES.map(sourcePath), '-o', path])
      return path
    })
  )
}

function sourcePath(name: string): string {
  return join(sources, `${name}.c`)
}

type Command = (variant: Variant) => readonly string[]

function compilerFor(target: KernelTarget): Command {
  const { platform, arch } = target
  const instructions = (variant: Variant): { zig: string[]; cc: string[] } =>
    INSTRUCTIONS[`${arch} ${variant}`] ?? { zig: [], cc: [] }
  const zig = findZig()
  const [system = '', ...more] = ZIG_TARGETS[platform] ?? []
  if (zig !== undefined && system !== '') {
    const machine = arch === 'arm64' ? 'aarch64' : 'x86_64'
    return (variant) => [
      zig,
      'cc',
      '-target',
      `${machine}-${system}`,
      ...instructions(variant).zig,
      ...more
    ]
  }
  if (platform !== process.platform || arch !== process.arch) {
    throw new Error(`zig ${ZIG_VERSION} is needed for ${platform} ${arch}, and is not there`)
  }
  const cc = ['cc', 'gcc', 'clang'].map((name) => Bun.which(name)).find((path) => path !== null)
  if (cc === undefined || cc === null) {
    throw new Error(`neither zig ${ZIG_VERSION} nor a C compiler is there`)
  }
  const dynamic = platform === 'darwin' ? '-Wl,-undefined,dynamic_lookup' : '-Wl,-Bsymbolic'
  return (variant) => [cc, ...instructions(variant).cc, dynamic]
}

function findZig(): string | undefined {
  const own = join(root, ZIG_FOLDER, process.platform === 'win32' ? 'zig.exe' : 'zig')
  if (existsSync(own)) return own
  const found = Bun.which('zig')
  if (found === null) return undefined
  const version = Bun.spawnSync([found, 'version']).stdout.toString().trim()
  return version === ZIG_VERSION ? found : undefined
}

async function compile(command: readonly string[]): Promise<void> {
  const cache = join(root, '.cache', 'zig')
  const child = Bun.spawn([...command], {
    cwd: sources,
    env: { ...process.env, ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe'
  })
  const [words, code] = await Promise.all([new Response(child.stderr).text(), child.exited])
  if (code !== 0) throw new Error(words.trim() || `${command[0]} ended with ${code}`)
}

/** The folder with a target's libraries, compiled once however many ask for them. */
export async function compiledKernels(target: KernelTarget): Promise<string> {
  const folder = compiledFolder(target)
  if (existsSync(folder)) return folder
  mkdirSync(dirname(folder), { recursive: true })
  await withFileLock(`${folder}.lock`, async () => {
    if (existsSync(folder)) return
    // Appears whole: others look for nothing but the folder.
    const temporary = mkdtempSync(`${folder}.`)
    try {
      await compileKernels(target, temporary)
      renameSync(temporary, folder)
      removeOlder(folder)
    } finally {
      rmSync(temporary, { recursive: true, force: true })
    }
  })
  return folder
}

/** The libraries' paths in `compiledKernels`. */
export async function kernelFiles(target: KernelTarget): Promise<string[]> {
  const folder = await compiledKernels(target)
  return variantsOf(target.arch).map((variant) =>
    join(folder, libraryName(variant, target.platform))
  )
}

/**
 * Of the same target and compiler, all but the latest: switching branches should not compile each
 * time.
 */
function removeOlder(folder: string): void {
  const stem = basename(folder).replace(/[0-9a-f]{16}$/, '')
  const all = readdirSync(dirname(folder))
    .filter((name) => name.startsWith(stem) && /-[0-9a-f]{16}$/.test(name))
    .map((name) => join(dirname(folder), name))
    .map((path) => ({ path, at: statSync(path).mtimeMs }))
    .sort((a, b) => b.at - a.at)
  for (const { path } of all.slice(KEPT_FOLDERS)) rmSync(path, { recursive: true, force: true })
}

if (import.meta.main) {
  try {
    console.log(await compiledKernels(process))
  } catch (error) {
    console.error(`kernels: ${error instanceof Error ? error.message : String(error)}`)
    process.exit(2)
  }
}
