// Identities on disk: made once, kept, refused when others may read them or they are damaged.
import { describe, expect, test } from 'bun:test'
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../src/base/errors.ts'
import { createIdentity, loadIdentity } from '../../src/swarm/identity.ts'
import { tempFolder } from '../support/temp-folder.ts'

async function failure(promise: Promise<unknown>): Promise<AppError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof AppError) return error
    throw error
  }
  throw new Error('Nothing failed')
}

describe('createIdentity()', () => {
  test('makes the same keys of the same seed, and new ones without', () => {
    const seed = new Uint8Array(32).fill(1)
    expect(createIdentity(seed)).toEqual(createIdentity(seed))
    // The public key of this seed by RFC 8032's algorithm, from another implementation.
    expect(Buffer.from(createIdentity(seed).publicKey).toString('hex')).toBe(
      '8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c'
    )
    expect(createIdentity().publicKey).not.toEqual(createIdentity().publicKey)
  })
})

describe('loadIdentity()', () => {
  test('makes an identity that only its owner may read, and finds it again', async () => {
    await using folder = await tempFolder()
    const dir = join(folder.path, 'deep', 'down')
    const made = await loadIdentity(dir)
    expect((await stat(join(dir, 'identity'))).mode & 0o777).toBe(0o600)
    expect(await readdir(dir)).toEqual(['identity'])
    expect(await loadIdentity(dir)).toEqual(made)
  })

  test('gives one identity to many who ask at once', async () => {
    await using folder = await tempFolder()
    const all = await Promise.all(Array.from({ length: 8 }, () => loadIdentity(folder.path)))
    expect(new Set(all.map(({ publicKey }) => publicKey.toString())).size).toBe(1)
    expect(await readdir(folder.path)).toEqual(['identity'])
  })

  test('refuses a file that others may read or change', async () => {
    await using folder = await tempFolder()
    await loadIdentity(folder.path)
    const codes: string[] = []
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(join(folder.path, 'identity'), mode)
      const error = await failure(loadIdentity(folder.path))
      codes.push(`${error.code} ${error.hint?.includes('chmod 600')}`)
    }
    expect(codes).toEqual(['DENIED true', 'DENIED true', 'DENIED true'])
  })

  test('refuses a damaged file and leaves it as it is', async () => {
    await using folder = await tempFolder()
    await loadIdentity(folder.path)
    const path = join(folder.path, 'identity')
    const good = await readFile(path, 'utf8')
    const codes: string[] = []
    for (const text of ['', good.slice(0, -1), good.replace(/ [0-9a-f]/, ' x'), good + good]) {
      await writeFile(path, text)
      codes.push((await failure(loadIdentity(folder.path))).code)
      expect(await readFile(path, 'utf8')).toBe(text)
    }
    const turned = good.replace(/ (.)/, (_, digit: string) => (digit === '0' ? ' 1' : ' 0'))
    await writeFile(path, turned)
    codes.push((await failure(loadIdentity(folder.path))).code)
    expect(codes).toEqual(['CORRUPT', 'CORRUPT', 'CORRUPT', 'CORRUPT', 'CORRUPT'])
  })

  test('says what is wrong when the folder cannot be used', async () => {
    await using folder = await tempFolder()
    await mkdir(join(folder.path, 'identity'), { mode: 0o700 })
    expect((await failure(loadIdentity(folder.path))).code).toBe('UNAVAILABLE')
  })
})
