import { expect, test } from 'bun:test'
import { corrupt } from '../../src/base/errors.ts'
import { fileError, folderError } from '../../src/base/files/file-error.ts'

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
