// A lock between processes: one at a time, and the dead hold nothing.
import { expect, test } from 'bun:test'
import { existsSync, readdirSync, utimesSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { tryFileLock, withFileLock } from '../../src/base/files/file-lock.ts'
import { holderWords, tryWordLock } from '../../src/base/files/file-lock-words.ts'
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

test("a lock is the kernel's: whatever the file says, who lives has it and who died has not", async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  await using holder = await startHolder(path)
  // As one of another container looks: its number is nobody's here.
  await folder.write('lock', JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1, token: 'x' }))
  expect(await tryFileLock(path)).toBeUndefined()
  holder.kill('SIGKILL')
  await holder.exited
  // As one of another container looks: its number is somebody else's here.
  await folder.write('lock', JSON.stringify({ host: hostname(), pid: process.pid, token: 'x' }))
  const release = await tryFileLock(path)
  expect(release).toBeFunction()
  await release?.()
  expect(existsSync(path)).toBe(false)
})

test('a child of the holder does not keep the lock', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  const release = await tryFileLock(path)
  await using child = Bun.spawn(['cat'], { stdin: 'pipe' })
  await release?.()
  const again = await tryFileLock(path)
  expect([again, child.exitCode]).toEqual([expect.any(Function), null])
  await again?.()
})

test.skipIf(!existsSync('/sys/class'))(
  'a folder that may only be read is locked itself',
  async () => {
    // Nobody may write to the kernel's own folders, root included; another run takes another of
    // them.
    const folders = readdirSync('/sys/class')
    const path = join('/sys/class', folders[process.pid % folders.length] ?? '', 'lock')
    const release = await tryFileLock(path)
    const second = await tryFileLock(path)
    expect([release, second]).toEqual([expect.any(Function), undefined])
    await release?.()
    const third = await tryFileLock(path)
    expect(third).toBeFunction()
    await third?.()
  }
)

test('waiting for a lock that is held ends with an abort', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  const release = await tryFileLock(path)
  const abort = new AbortController()
  const waiting = withFileLock(path, () => Promise.resolve(), {
    signal: abort.signal,
    onwait: () => abort.abort()
  })
  await expect(waiting).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }))
  expect(existsSync(path)).toBe(true)
  await release?.()
})

test('a lock in a folder that cannot be written is UNAVAILABLE', async () => {
  await expect(withFileLock('/no/such/folder/lock', () => Promise.resolve())).rejects.toThrow(
    expect.objectContaining({ code: 'UNAVAILABLE' })
  )
})

test('without a lock of the kernel a holder that died is passed over at once', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'lock')
  const dead = Bun.spawn([process.execPath, '-e', '0'])
  await dead.exited
  const own = JSON.parse(holderWords()) as object
  for (const words of [
    { ...own, pid: dead.pid },
    // Its number was given to another process.
    { ...own, start: '1' }
  ]) {
    await folder.write('lock', JSON.stringify(words))
    const release = await tryWordLock(path)
    expect(release).toBeFunction()
    await release?.()
  }
})

test('without a lock of the kernel one of elsewhere is taken when its time stands still', async () => {
  await using folder = await tempFolder()
  const own = JSON.parse(holderWords()) as object
  const elsewhere = [
    { ...own, host: 'elsewhere' },
    { ...own, boot: 'before' },
    { ...own, space: 'pid:[1]' }
  ]
  for (const words of elsewhere) {
    const path = await folder.write('lock', JSON.stringify({ ...words, pid: 1 }))
    expect(await tryWordLock(path)).toBeUndefined()
    const old = new Date('2020-01-01')
    utimesSync(path, old, old)
    const release = await tryWordLock(path)
    expect(release).toBeFunction()
    await release?.()
  }
})

/** A process that holds the lock until it is killed. */
async function startHolder(path: string): Promise<Bun.Subprocess<'ignore', 'pipe', 'inherit'>> {
  const module = JSON.stringify(join(import.meta.dir, '../../src/base/files/file-lock.ts'))
  const code = `
    const { tryFileLock } = await import(${module})
    if (await tryFileLock(${JSON.stringify(path)})) console.log('held')
    setInterval(() => {}, 1 << 30)`
  const child = Bun.spawn([process.execPath, '-e', code], { stdin: 'ignore', stdout: 'pipe' })
  const reader = child.stdout.getReader()
  await reader.read()
  reader.releaseLock()
  return child
}
