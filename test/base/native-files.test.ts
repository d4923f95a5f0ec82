// Unpacking native files: whole files by content, whatever lay there before.
import { expect, test } from 'bun:test'
import { mkdir, readdir, readFile, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../src/base/errors.ts'
import {
  contentHash,
  loadFailed,
  unpackNativeSet,
  type NativeSet
} from '../../src/base/files/native-files.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

const CONTENT = Buffer.from('a library'.repeat(1000))

async function packed(folder: TempFolder, changes: object = {}): Promise<NativeSet> {
  const path = await folder.write('packed/one.zst', Bun.zstdCompressSync(CONTENT))
  const file = { name: 'one.so', path, sizeBytes: CONTENT.length, hash: contentHash(CONTENT) }
  return { id: 'abc', files: [{ ...file, ...changes }] }
}

function errorOf(run: () => unknown): AppError {
  try {
    run()
  } catch (error) {
    if (error instanceof AppError) return error
    throw error
  }
  throw new Error('Nothing was thrown')
}

test('unpackNativeSet() leaves the files in a private folder named by the set', async () => {
  await using folder = await tempFolder()
  const cache = join(folder.path, 'cache')
  const target = unpackNativeSet(await packed(folder), cache)
  expect(target).toBe(join(cache, 'lib', 'abc'))
  expect(await readdir(target)).toEqual(['one.so'])
  expect(CONTENT.equals(await readFile(join(target, 'one.so')))).toBe(true)
  expect((await stat(target)).mode & 0o777).toBe(0o700)
})

test('unpackNativeSet() touches nothing the second time', async () => {
  await using folder = await tempFolder()
  const set = await packed(folder)
  const target = unpackNativeSet(set, folder.path)
  const before = await stat(join(target, 'one.so'))
  await folder.write('packed/one.zst', 'gone')
  unpackNativeSet(set, folder.path)
  const after = await stat(join(target, 'one.so'))
  expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs])
})

test.each([
  ['empty', ''],
  ['shorter', CONTENT.subarray(1)],
  ['another of the same size', Buffer.alloc(CONTENT.length)]
])('unpackNativeSet() replaces a file that is %s', async (_name, content) => {
  await using folder = await tempFolder()
  const set = await packed(folder)
  const path = await folder.write('lib/abc/one.so', content)
  unpackNativeSet(set, folder.path)
  expect(CONTENT.equals(await readFile(path))).toBe(true)
})

test('unpackNativeSet() removes what died processes left and nothing fresh', async () => {
  await using folder = await tempFolder()
  const old = await folder.write('lib/abc/one.so.1-x.tmp', 'old')
  await folder.write('lib/abc/one.so.2-y.tmp', 'fresh')
  await utimes(old, 1, 1)
  const target = unpackNativeSet(await packed(folder), folder.path)
  expect((await readdir(target)).sort()).toEqual(['one.so', 'one.so.2-y.tmp'])
})

test.each([
  ['does not unpack', { path: import.meta.path }],
  ['is missing', { path: '/nowhere/one.zst' }],
  ['has another size', { sizeBytes: 1 }],
  ['has another hash', { hash: '0'.repeat(16) }]
])(
  'unpackNativeSet() calls the executable damaged when a file in it %s',
  async (_name, changes) => {
    await using folder = await tempFolder()
    const set = await packed(folder, changes)
    expect(errorOf(() => unpackNativeSet(set, folder.path)).code).toBe('CORRUPT')
    expect(await readdir(join(folder.path, 'lib', 'abc'))).toEqual([])
  }
)

test('unpackNativeSet() names the folder that it cannot write and a way out', async () => {
  await using folder = await tempFolder()
  const set = await packed(folder)
  await folder.write('lib', 'a file in the way')
  const { code, message, hint, retryable } = errorOf(() => unpackNativeSet(set, folder.path))
  expect({ code, retryable }).toEqual({ code: 'DENIED', retryable: false })
  expect(message).toContain(join(folder.path, 'lib', 'abc'))
  expect(hint).toContain('PETALS_HOME')
})

test('unpackNativeSet() leaves no temporary file when the name is taken by a folder', async () => {
  await using folder = await tempFolder()
  const set = await packed(folder)
  await mkdir(join(folder.path, 'lib', 'abc', 'one.so'), { recursive: true })
  expect(errorOf(() => unpackNativeSet(set, folder.path)).code).toBe('UNAVAILABLE')
  expect(await readdir(join(folder.path, 'lib', 'abc'))).toEqual(['one.so'])
})

test.each([
  [
    'libstdc++.so.6: cannot open shared object file: No such file or directory',
    "Install the package of this system that has 'libstdc++.so.6'"
  ],
  [
    'Error loading shared library libgcc_s.so.1: No such file or directory (needed by PATH)',
    "Install the package of this system that has 'libgcc_s.so.1'"
  ],
  [
    "/lib64/libc.so.6: version `GLIBC_2.33' not found (required by PATH)",
    "The C library of this system is too old: 'GLIBC_2.33' is needed, of a newer system"
  ],
  [
    'PATH: failed to map segment from shared object',
    'Its folder may be mounted noexec: set PETALS_HOME to one that is not'
  ],
  [
    'Error loading shared library PATH: Operation not permitted',
    'Its folder may be mounted noexec: set PETALS_HOME to one that is not'
  ],
  ['PATH: wrong ELF class', 'See whether the file fits this system: petals doctor']
])('loadFailed() says what to do about %p', async (words, hint) => {
  await using folder = await tempFolder()
  const path = await folder.write('a.so', 'a library')
  const { message, hint: said } = loadFailed(path, new Error(words.replaceAll('PATH', path)))
  expect(said).toBe(hint)
  expect(message).toStartWith(`'${path}' cannot be loaded: `)
})

test('loadFailed() names the file once', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('a.so', 'a library')
  const words = `Failed to open library "${path}": ${path}: wrong ELF class`
  expect(loadFailed(path, new Error(words)).message).toBe(
    `'${path}' cannot be loaded: wrong ELF class`
  )
})
