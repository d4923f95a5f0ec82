import { expect, test } from 'bun:test'
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { corrupt } from '../../src/base/errors.ts'
import { fileError, folderError } from '../../src/base/files/file-error.ts'
import { tempFolder } from '../support/temp-folder.ts'

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: it failed`), { code })
}

test('fileError() tells what is forbidden from what is missing and what is broken', () => {
  const found = ['EACCES', 'EROFS', 'ENOTDIR', 'ENOSPC', 'EIO'].map((code) => {
    const error = fileError('It cannot be kept', failure(code), { hint: 'Move it' })
    return [error.code, error.message, error.hint, error.retryable]
  })
  expect(found).toEqual([
    ['DENIED', 'It cannot be kept: permission denied', 'Move it', false],
    ['DENIED', 'It cannot be kept: the file system is read-only', 'Move it', false],
    ['NOT_FOUND', 'It cannot be kept: a file stands where a folder should', 'Move it', false],
    ['UNAVAILABLE', 'It cannot be kept: the disk is full', 'Move it', false],
    ['UNAVAILABLE', 'It cannot be kept: EIO', 'Move it', false]
  ])
})

test('fileError() tells a missing file from a missing folder', async () => {
  await using folder = await tempFolder()
  const { path } = folder
  const acts = [
    () => readFileSync(join(path, 'file')),
    () => readFileSync(join(path, 'folder', 'file')),
    () => writeFileSync(join(path, 'folder', 'file'), ''),
    () => readdirSync(join(path, 'folder')),
    () => mkdirSync(join(path, 'folder', 'other')),
    () => renameSync(join(path, 'file'), join(path, 'other'))
  ]
  const reasons = acts.map((act) => {
    try {
      return act()
    } catch (error) {
      return fileError('No', error).message
    }
  })
  const [file, other] = ['No: there is no such file', 'No: there is no such folder']
  expect(reasons).toEqual([file, other, other, other, other, file])
  expect(fileError('No', failure('ENOENT')).message).toBe('No: it is not there')
})

test('fileError() leaves an error of ours as it is', () => {
  const error = corrupt('It is damaged')
  expect(fileError('It cannot be kept', error)).toBe(error)
})

test('folderError() lets whoever chose a folder mend all but the disk', () => {
  const codes = ['EACCES', 'EROFS', 'ENOTDIR', 'ENOENT', 'EEXIST', 'ENOSPC'].map(
    (code) => folderError('It cannot be kept', failure(code)).code
  )
  expect(codes).toEqual(['DENIED', 'DENIED', 'DENIED', 'DENIED', 'DENIED', 'UNAVAILABLE'])
})
