// Whole files at once, on file systems without hard links or modes too.
import { expect, test } from 'bun:test'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { chmod, link } from 'node:fs/promises'
import { join } from 'node:path'
import { createWhole, type FileCalls, writeWhole } from '../../src/base/files/whole-file.ts'
import { tempFolder } from '../support/temp-folder.ts'

const refuse = (code: string) => (): Promise<void> =>
  Promise.reject(Object.assign(new Error(code), { code }))

const SYSTEMS: readonly (readonly [string, FileCalls])[] = [
  ['as most are', { link, chmod }],
  ['without hard links', { link: refuse('EPERM'), chmod }],
  ['without hard links or modes', { link: refuse('EOPNOTSUPP'), chmod: refuse('EPERM') }]
]

test.each(SYSTEMS)('createWhole() makes a file once, on a file system %s', async (_, calls) => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'file')
  const texts = ['a', 'b', 'c', 'd']
  const made = await Promise.all(texts.map((text) => createWhole(path, text, calls)))
  expect(made.filter(Boolean)).toEqual([true])
  expect(readFileSync(path, 'utf8')).toBe(texts[made.indexOf(true)] ?? '')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readdirSync(folder.path)).toEqual(['file'])
})

test('createWhole() passes on what is no missing link, and leaves nothing behind', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'file')
  const calls = { link: refuse('ENOSPC'), chmod }
  await expect(createWhole(path, 'a', calls)).rejects.toMatchObject({ code: 'ENOSPC' })
  expect(readdirSync(folder.path)).toEqual([])
})

test('writeWhole() replaces a file', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('file', 'old')
  await writeWhole(path, 'new', { link, chmod: refuse('EPERM') })
  expect([readFileSync(path, 'utf8'), readdirSync(folder.path)]).toEqual(['new', ['file']])
})
