// Executables for every target, made on this machine. Fetches bun's runtimes from the package
// registry, so it is not part of the gate: bun test ./test/live/targets.test.ts
import { expect, test } from 'bun:test'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buildExecutable } from '../../scripts/build/build-executable.ts'
import { kernelFiles } from '../../scripts/build/kernels.ts'
import { factsOf, TARGETS, type Target } from '../../scripts/build/targets.ts'
import { ortLibraryFiles, ortPackageDir } from '../../src/blocks/ort/library.ts'
import { tempFolder } from '../support/temp-folder.ts'

/** Format and processor as the head of the file has them. */
function kindOf(file: Buffer): string {
  if (file.readUInt32BE(0) === 0x7f454c46) return `elf ${file.readUInt16LE(18).toString(16)}`
  if (file.readUInt32LE(0) === 0xfeedfacf) return `mach-o ${file.readUInt32LE(4).toString(16)}`
  if (file.toString('latin1', 0, 2) === 'MZ') {
    return `pe ${file.readUInt16LE(file.readUInt32LE(60) + 4).toString(16)}`
  }
  return 'unknown'
}

const KINDS: Readonly<Record<Target, string>> = {
  'linux-x64': 'elf 3e',
  'linux-arm64': 'elf b7',
  'linux-x64-musl': 'elf 3e',
  'linux-arm64-musl': 'elf b7',
  'darwin-x64': 'mach-o 1000007',
  'darwin-arm64': 'mach-o 100000c',
  'windows-x64': 'pe 8664',
  'windows-arm64': 'pe aa64'
}

/** Where a file lies packed in the executable, or -1. */
function offsetOf(file: Buffer, bytes: Uint8Array): number {
  return file.indexOf(Bun.zstdCompressSync(bytes, { level: 10 }).subarray(0, 4096))
}

test.each([...TARGETS])(
  'an executable for %s has its format, its libraries and no folder of its builder',
  async (target) => {
    await using folder = await tempFolder()
    const root = join(import.meta.dir, '..', '..')
    const outfile = join(folder.path, 'petals.exe')
    const entries = [join(root, 'test/build/probe.ts'), join(root, 'src/blocks/worker.ts')]
    await buildExecutable({ target, outfile, entries })
    const file = await readFile(outfile)
    expect(kindOf(file)).toBe(KINDS[target])
    expect(file.indexOf(root)).toBe(-1)
    const { platform, arch, isMusl, hasOnnxruntime } = factsOf(target)
    for (const path of await kernelFiles({ platform, arch })) {
      const library = await readFile(path)
      expect([path, kindOf(library)]).toEqual([path, KINDS[target]])
      expect(offsetOf(file, library)).toBeGreaterThan(0)
    }
    expect(hasOnnxruntime).toBe(!isMusl && target !== 'darwin-x64')
    if (!hasOnnxruntime) return
    for (const name of ortLibraryFiles(platform, arch)) {
      const bytes = await Bun.file(join(ortPackageDir(platform, arch), name)).bytes()
      expect(offsetOf(file, bytes)).toBeGreaterThan(0)
    }
  },
  600_000
)
