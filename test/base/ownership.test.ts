// Whose a file is that is loaded as code: the user's alone, up to the cache.
import { expect, test } from 'bun:test'
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { checkOwned, isOpenMode, keepsModes } from '../../src/base/files/ownership.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

const OWN = { uid: process.geteuid?.() ?? 0, gid: 4_000_000 }

async function library(folder: TempFolder): Promise<{ file: string; cache: string; lib: string }> {
  const cache = join(folder.path, 'cache')
  const lib = join(cache, 'lib')
  mkdirSync(lib, { recursive: true, mode: 0o700 })
  const file = await folder.write('cache/lib/one.so', 'x')
  for (const path of [folder.path, cache, lib, file]) chmodSync(path, 0o755)
  return { file, cache, lib }
}

test('checkOwned() takes what is the own, and looks no higher than the cache', async () => {
  await using folder = await tempFolder()
  const { file, cache } = await library(folder)
  chmodSync(folder.path, 0o777)
  expect(() => checkOwned('It', file, cache, OWN)).not.toThrow()
})

test.each([
  ['the file itself', 'file', 0o777],
  ['a folder that everybody may write', 'lib', 0o777],
  ['the cache that a group may write', 'cache', 0o775]
] as const)('checkOwned() refuses %s', async (_what, which, mode) => {
  await using folder = await tempFolder()
  const places = await library(folder)
  chmodSync(places[which], mode)
  // Root's group is root.
  const check = (): void => checkOwned('It', places.file, places.cache, OWN)
  if (mode === 0o775 && process.getegid?.() === 0) expect(check).not.toThrow()
  else {
    expect(check).toThrow(
      expect.objectContaining({
        code: 'DENIED',
        message: expect.stringContaining(places[which]),
        hint: expect.stringContaining('chmod go-w')
      })
    )
  }
})

test('checkOwned() refuses what belongs to another user, unless that is root', async () => {
  await using folder = await tempFolder()
  const { file, cache } = await library(folder)
  const check = (): void => checkOwned('It', file, cache, { uid: 4_000_000, gid: 4_000_000 })
  if (OWN.uid === 0) expect(check).not.toThrow()
  else expect(check).toThrow(expect.objectContaining({ code: 'DENIED' }))
})

test("checkOwned() takes a folder like /tmp, where nobody replaces what is another's", async () => {
  await using folder = await tempFolder()
  const { file, cache } = await library(folder)
  chmodSync(cache, 0o1777)
  expect(() => checkOwned('It', file, cache, OWN)).not.toThrow()
})

test('a mode is open when others may read or write, and counts where modes are kept', async () => {
  await using folder = await tempFolder()
  expect([0o600, 0o700, 0o640, 0o602].map(isOpenMode)).toEqual([false, false, true, true])
  expect(keepsModes(folder.path)).toBe(true)
})
