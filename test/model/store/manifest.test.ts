// A file's manifest and its root, and what a partial file remembers of what peers said.
import { describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../../src/base/bytes.ts'
import { ChunkFile } from '../../../src/model/store/chunk-file.ts'
import {
  type ChunkMap,
  emptyJournal,
  unverifiedPath,
  parseChunkMap,
  readChunkMap,
  readUnverified
} from '../../../src/model/store/chunk-map.ts'
import {
  manifestOf,
  manifestPath,
  manifestRoot,
  modelRoot,
  readManifest
} from '../../../src/model/store/manifest.ts'
import { failure } from '../../support/models/remote-model.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const CHUNK = 1024
const sha256 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(new Bun.CryptoHasher('sha256').update(bytes).digest())
const hex = (bytes: Uint8Array): string => toHex(sha256(bytes))
const bytesOf = (count: number): Uint8Array =>
  Uint8Array.from({ length: count * CHUNK - 100 }, (_, i) => (i * 31 + (i >> 8)) & 255)

function mapOf(bytes: Uint8Array): ChunkMap {
  const map = parseChunkMap(emptyJournal(bytes.length, CHUNK, hex(bytes)), 'x', bytes.length)
  for (let i = 0; i < map.count; i++) {
    map.hashes.set(sha256(bytes.subarray(i * CHUNK, (i + 1) * CHUNK)), i * 32)
  }
  return map
}

describe('manifestRoot()', () => {
  test('is the tree of BLAKE2b with leaves, nodes and root told apart', () => {
    const map = mapOf(bytesOf(3))
    const b = (...parts: Uint8Array[]): Uint8Array => {
      const hasher = new Bun.CryptoHasher('blake2b256')
      for (const part of parts) hasher.update(part)
      return new Uint8Array(hasher.digest())
    }
    const [one, two, three] = [0, 1, 2].map((i) =>
      b(new Uint8Array([0]), map.hashes.subarray(i * 32, (i + 1) * 32))
    )
    const top = b(new Uint8Array([1]), b(new Uint8Array([1]), one!, two!), three!)
    const facts = `petals-manifest-1\n${map.sizeBytes} ${CHUNK} ${map.sha256}\n`
    expect(toHex(manifestRoot(map))).toBe(toHex(b(Buffer.from(facts), top)))
  })

  test('changes with any chunk, their order, and their number', () => {
    const roots = [1, 2, 3, 4, 5, 8, 9].map((count) => toHex(manifestRoot(mapOf(bytesOf(count)))))
    const map = mapOf(bytesOf(5))
    for (let i = 0; i < 5; i++) {
      const changed = { ...map, hashes: map.hashes.slice() }
      changed.hashes[i * 32]! ^= 1
      roots.push(toHex(manifestRoot(changed)))
    }
    const swapped = { ...map, hashes: map.hashes.slice() }
    swapped.hashes.copyWithin(0, 32, 64)
    swapped.hashes.set(map.hashes.subarray(0, 32), 32)
    roots.push(toHex(manifestRoot(swapped)))
    expect(new Set(roots).size).toBe(roots.length)
  })

  test('of a partial manifest there is none', () => {
    const map = mapOf(bytesOf(3))
    map.hashes.fill(0, 32, 64)
    expect(() => manifestRoot(map)).toThrow(RangeError)
  })

  test('of a model is that of its file, or of all its files in order', () => {
    const [a, b] = [manifestRoot(mapOf(bytesOf(2))), manifestRoot(mapOf(bytesOf(3)))]
    expect(modelRoot([a])).toEqual(a)
    expect(toHex(modelRoot([a, b]))).not.toBe(toHex(modelRoot([b, a])))
  })
})

describe('manifestOf()', () => {
  test('reads a file once and keeps what it found', async () => {
    await using folder = await tempFolder()
    const bytes = bytesOf(7)
    const path = await folder.write('a.gguf', bytes)
    const file = { path, sha256: hex(bytes), sizeBytes: bytes.length }
    const map = await manifestOf(file, { cacheDir: folder.path, chunkBytes: CHUNK })
    expect(toHex(map.hashes)).toBe(toHex(mapOf(bytes).hashes))
    await folder.write('a.gguf', 'gone')
    const again = await manifestOf(file, { cacheDir: folder.path, chunkBytes: CHUNK })
    expect(toHex(again.hashes)).toBe(toHex(map.hashes))
  })

  test('makes none of a file that has changed, and takes none that is damaged', async () => {
    await using folder = await tempFolder()
    const bytes = bytesOf(7)
    const path = await folder.write('a.gguf', bytes)
    const file = { path, sha256: 'ab'.repeat(32), sizeBytes: bytes.length }
    const options = { cacheDir: folder.path, chunkBytes: CHUNK }
    expect((await failure(manifestOf(file, options))).code).toBe('CORRUPT')
    await Bun.write(manifestPath(folder.path, file.sha256), 'no manifest')
    expect(await readManifest(folder.path, file)).toBeUndefined()
  })
})

describe('ChunkFile', () => {
  const bytes = bytesOf(20)
  const options = (folder: { path: string }): Parameters<typeof ChunkFile.open>[0] => ({
    path: join(folder.path, 'a.gguf'),
    sizeBytes: bytes.length,
    sha256: hex(bytes),
    chunkBytes: CHUNK
  })
  const chunk = (index: number): Uint8Array => bytes.subarray(index * CHUNK, (index + 1) * CHUNK)

  test('remembers which chunks were taken on the word of peers', async () => {
    await using folder = await tempFolder()
    {
      await using file = (await ChunkFile.open(options(folder)))!
      await file.write(1, chunk(1), true)
      await file.write(2, chunk(2))
      await file.write(12, chunk(12), true)
      await file.commit()
    }
    await using file = (await ChunkFile.open(options(folder)))!
    expect([1, 2, 12, 3].map((index) => [file.has(index), file.isVouched(index)])).toEqual([
      [true, false],
      [true, true],
      [true, false],
      [false, false]
    ])
  })

  test('forgets it when the whole is what it should be', async () => {
    await using folder = await tempFolder()
    await using file = (await ChunkFile.open(options(folder)))!
    for (let i = 0; i < 20; i++) await file.write(i, chunk(i), i % 2 === 0)
    await file.commit()
    expect(await file.complete()).toBe(true)
    expect(await Bun.file(unverifiedPath(file.path)).exists()).toBe(false)
    expect(readChunkMap(file.path, bytes.length)).toBeUndefined()
  })

  test('throws away what peers gave, and only that, when the whole is something else', async () => {
    await using folder = await tempFolder()
    await using file = (await ChunkFile.open(options(folder)))!
    for (let i = 0; i < 20; i++) await file.write(i, i === 4 ? chunk(5) : chunk(i), i % 2 === 0)
    await file.commit()
    expect((await failure(file.complete())).code).toBe('CORRUPT')
    await using again = (await ChunkFile.open(options(folder)))!
    expect(Array.from({ length: 20 }, (_, i) => again.has(i))).toEqual(
      Array.from({ length: 20 }, (_, i) => i % 2 === 1)
    )
    expect(readUnverified(file.path, 20).every((byte) => byte === 0)).toBe(true)
  })
})
