// Files that are cut or written to while they are open: an error with a code, and never a signal.
import { expect, test } from 'bun:test'
import { chmodSync, copyFileSync, openSync, renameSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { mapFile } from '../../../src/base/files/map-file.ts'
import { contentHash, unpackNativeSet } from '../../../src/base/files/native-files.ts'
import { openMappedFile } from '../../../src/model/formats/mapped-file.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const SIZE = 3 * 2 ** 20
const BYTES = new Uint8Array(SIZE).map((_, i) => i % 251)
const CHANGED = expect.objectContaining({
  code: 'CORRUPT',
  message: expect.stringContaining('was changed while it was in use')
})

test('pieces of a file are its bytes, mapped and read, at any offset', async () => {
  await using folder = await tempFolder()
  const file = openMappedFile(await folder.write('file', BYTES))
  for (const [offset, length] of [
    [0, SIZE],
    [70_001, 2 ** 20],
    [70_001, 5000],
    [SIZE - 1, 1]
  ] as const) {
    expect(
      Buffer.from(BYTES.subarray(offset, offset + length)).equals(file.bytes(offset, length))
    ).toBe(true)
    const into = new Uint8Array(length)
    file.readInto(offset, into)
    expect(Buffer.from(into).equals(BYTES.subarray(offset, offset + length))).toBe(true)
  }
  file.close()
})

test.each([
  ['cut', (path: string) => truncateSync(path, 10)],
  ['made longer', (path: string) => truncateSync(path, SIZE + 1)],
  ['written to', (path: string) => writeSync(openSync(path, 'r+'), 'x', 5)]
])('a file that was %s while it was open is CORRUPT', async (_, change) => {
  await using folder = await tempFolder()
  const path = await folder.write('file', BYTES)
  const file = openMappedFile(path)
  change(path)
  expect(() => file.bytes(0, SIZE)).toThrow(CHANGED)
  expect(() => file.bytes(100, 100)).toThrow(CHANGED)
  file.close()
})

test('hashing a file that was cut is CORRUPT', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('file', BYTES)
  const file = openMappedFile(path)
  truncateSync(path, SIZE - 1)
  expect(() => file.readInto(0, new Uint8Array(100))).toThrow(CHANGED)
  file.close()
})

test('a file that is replaced by another stays what it was for who has it open', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('file', BYTES)
  const file = openMappedFile(path)
  renameSync(await folder.write('other', 'short'), path)
  expect(Buffer.from(BYTES).equals(file.bytes(0, SIZE))).toBe(true)
  expect(file.bytes(7, 3)).toEqual(BYTES.slice(7, 10))
  file.close()
})

test('a file that cannot be opened for writing is mapped and unpacked all the same', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lib', 'set', 'one')
  await folder.write('lib/set/two', '')
  // Nobody may write to a program that runs, as to a file of a disk that is read-only.
  copyFileSync('/bin/sleep', path)
  chmodSync(path, 0o755)
  await using program = Bun.spawn([path, '1000'])
  expect(() => openSync(path, 'r+')).toThrow(expect.objectContaining({ code: 'ETXTBSY' }))
  const content = await Bun.file('/bin/sleep').bytes()
  expect(Buffer.from(content).equals(mapFile(openSync(path, 'r'), 0, content.length)!)).toBe(true)
  const file = {
    name: 'one',
    path: 'nowhere',
    sizeBytes: content.length,
    hash: contentHash(content)
  }
  expect(unpackNativeSet({ id: 'set', files: [file] }, folder.path)).toBe(
    join(folder.path, 'lib/set')
  )
  program.kill('SIGKILL')
  await program.exited
})
