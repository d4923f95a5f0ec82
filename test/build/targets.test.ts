// What executables for other systems are made of.
import { expect, test } from 'bun:test'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { withoutGlibc } from '../../scripts/build/elf.ts'
import { executableName, factsOf, hostTarget, TARGETS } from '../../scripts/build/targets.ts'

test('names for Windows end with .exe, whatever was asked for', () => {
  const name = (target: Parameters<typeof executableName>[0], asked: string): string =>
    executableName(target, asked)
  expect([
    name('windows-x64', 'out/petals'),
    name('windows-arm64', 'petals.EXE'),
    name('windows-x64', 'petals.exe'),
    name('darwin-x64', 'petals'),
    name('linux-x64-musl', 'petals.exe')
  ]).toEqual(['out/petals.exe', 'petals.EXE', 'petals.exe', 'petals', 'petals.exe'])
})

test('onnxruntime is in all builds but those that it does not exist for', () => {
  const without = TARGETS.filter((target) => !factsOf(target).hasOnnxruntime)
  expect(without).toEqual(['linux-x64-musl', 'linux-arm64-musl', 'darwin-x64'])
})

test('this machine is one of the targets, by its own C library', () => {
  const target = hostTarget()
  if (target === undefined) throw new Error('This machine has no target')
  const { platform, arch, isMusl } = factsOf(target)
  expect<string[]>([platform, arch]).toEqual([process.platform, process.arch])
  const isDynamic = Bun.spawnSync(['ldd', '--version'])
  expect(isMusl).toBe(`${isDynamic.stdout}${isDynamic.stderr}`.includes('musl'))
})

/** Bytes of libsodium's addon. */
async function addon(arch: string): Promise<Buffer> {
  const universal = createRequire(import.meta.url).resolve('sodium-universal/package.json')
  const manifest = createRequire(universal).resolve('sodium-native/package.json')
  const folder = join(dirname(manifest), 'prebuilds', `linux-${arch}`)
  const name = (await readdir(folder)).find((file) => file.endsWith('.node')) ?? ''
  return readFile(join(folder, name))
}

/** Names of the libraries that an ELF file needs, by its section headers. */
function neededBy(file: Buffer): string[] {
  const u64 = (at: number): number => Number(file.readBigUInt64LE(at))
  const sections = Array.from({ length: file.readUInt16LE(60) }, (_, i) => u64(40) + 64 * i)
  const dynamic = sections.find((at) => file.readUInt32LE(at + 4) === 6) ?? 0
  const strings = u64((sections[file.readUInt32LE(dynamic + 40)] ?? 0) + 24)
  const names: string[] = []
  for (let at = u64(dynamic + 24); at < u64(dynamic + 24) + u64(dynamic + 32); at += 16) {
    const begin = strings + u64(at + 8)
    if (u64(at) === 1) names.push(file.toString('latin1', begin, file.indexOf(0, begin)))
  }
  return names
}

test.each(['x64', 'arm64'])('the addon for musl on %s needs nothing of glibc', async (arch) => {
  const before = await addon(arch)
  expect(neededBy(before)).toContain('libc.so.6')
  const after = Buffer.from(withoutGlibc(before))
  expect(neededBy(after)).toEqual(['libstdc++.so.6', 'libgcc_s.so.1'])
  expect(after.length).toBe(before.length)
})

test('what is no ELF library of 64 bits is refused', () => {
  expect(() => withoutGlibc(Buffer.alloc(256))).toThrow('no 64-bit ELF')
})
