// A lock between processes: one at a time, and the dead hold nothing.
import { expect, test } from 'bun:test'
import { existsSync, utimesSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { withFileLock } from '../../src/model/store/file-lock.ts'
import { tempFolder } from '../support/temp-folder.ts'

test('withFileLock() lets one in at a time, and leaves nothing behind', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  let inside = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside)
    await new Promise((resolve) => setImmediate(resolve))
    inside--
  }
  await Promise.all(Array.from({ length: 8 }, () => withFileLock(path, work, { pollMs: 1 })))
  expect({ most, left: existsSync(path) }).toEqual({ most: 1, left: false })
})

test('withFileLock() gives the lock back when the work fails', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  await expect(withFileLock(path, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(existsSync(path)).toBe(false)
})

test('a lock whose process died is taken at once', async () => {
  await using folder = await tempFolder()
  const dead = Bun.spawn([process.execPath, '-e', '0'])
  await dead.exited
  const content = JSON.stringify({ host: hostname(), pid: dead.pid, token: 'x' })
  const path = await folder.write('lock', content)
  let waited = 0
  expect(await withFileLock(path, () => Promise.resolve(7), { onwait: () => waited++ })).toBe(7)
  expect(waited).toBe(0)
})

test('a lock of another machine is taken when its time stands still', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('lock', JSON.stringify({ host: 'elsewhere', pid: 1, token: 'x' }))
  const old = new Date('2020-01-01')
  utimesSync(path, old, old)
  expect(await withFileLock(path, () => Promise.resolve(7))).toBe(7)
})

test('waiting for a lock that is held ends with an abort', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('lock', JSON.stringify({ host: 'elsewhere', pid: 1, token: 'x' }))
  const abort = new AbortController()
  const waiting = withFileLock(path, () => Promise.resolve(), {
    signal: abort.signal,
    onwait: () => abort.abort()
  })
  await expect(waiting).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }))
  expect(existsSync(path)).toBe(true)
})

test('a lock in a folder that cannot be written is UNAVAILABLE', async () => {
  await expect(withFileLock('/no/such/folder/lock', () => Promise.resolve())).rejects.toThrow(
    expect.objectContaining({ code: 'UNAVAILABLE' })
  )
})
