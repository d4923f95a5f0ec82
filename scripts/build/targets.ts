// The systems that executables are built for, and what each can carry. Bun's x64 builds need no
// AVX2: of 1.4.5 `baseline` is the same program.
import { existsSync } from 'node:fs'
import { ortPackageDir } from '../../src/blocks/ort/library.ts'

export const TARGETS = [
  'linux-x64',
  'linux-arm64',
  'linux-x64-musl',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'windows-x64',
  'windows-arm64'
] as const
export type Target = (typeof TARGETS)[number]

export interface TargetFacts {
  /** The systems' names are node's. */
  readonly platform: 'linux' | 'darwin' | 'win32'
  readonly arch: 'x64' | 'arm64'
  /** Whether the C library is musl, as on Alpine. */
  readonly isMusl: boolean
  /** Whether onnxruntime, and with it GPUs, can be had. */
  readonly hasOnnxruntime: boolean
}

export function isTarget(name: string): name is Target {
  return (TARGETS as readonly string[]).includes(name)
}

export function factsOf(target: Target): TargetFacts {
  const [system, arch, libc] = target.split('-')
  const platform = system === 'windows' ? 'win32' : system === 'darwin' ? 'darwin' : 'linux'
  const facts = { platform, arch: arch === 'arm64' ? 'arm64' : 'x64' } as const
  const isMusl = libc === 'musl'
  // Its package has no build for macOS x64, and those for Linux need glibc.
  const hasOnnxruntime = !isMusl && existsSync(ortPackageDir(facts.platform, facts.arch))
  return { ...facts, isMusl, hasOnnxruntime }
}

/** This machine's target, if there is one. */
export function hostTarget(): Target | undefined {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  const name = `${system}-${process.arch}${isMusl() ? '-musl' : ''}`
  return isTarget(name) ? name : undefined
}

function isMusl(): boolean {
  if (process.platform !== 'linux') return false
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return report.header?.glibcVersionRuntime === undefined
}

/** Where the executable is written: Windows starts nothing without its ending. */
export function executableName(target: Target, name: string): string {
  const { platform } = factsOf(target)
  return platform === 'win32' && !name.toLowerCase().endsWith('.exe') ? `${name}.exe` : name
}
