// Executables for every target, made on this machine. Fetches bun's runtimes from the package
// registry, so it is not part of the gate: bun test test/live/targets.test.ts
import { expect, test } from 'bun:test'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buildExecutable, TARGETS, type Target } from '../../scripts/build/build-executable.ts'
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
  'darwin-arm64': 'mach-o 100000c',
  'windows-x64': 'pe 8664'
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
    const [system = '', arch = ''] = target.split('-')
    const platform = system === 'windows' ? 'win32' : system
    for (const name of ortLibraryFiles(platform, arch)) {
      const bytes = await Bun.file(join(ortPackageDir(platform, arch), name)).bytes()
      const packed = Bun.zstdCompressSync(bytes, { level: 10 })
      expect(file.indexOf(packed.subarray(0, 4096))).toBeGreaterThan(0)
    }
  },
  300_000
)
