// Files that are here by the chunk: what counts as there, after a crash too, and journals that are
// none.
import { expect, test } from 'bun:test'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { ChunkFile } from '../../../src/model/store/chunk-file.ts'
import {
  emptyJournal,
  hasRange,
  heldBytes,
  missingRuns,
  parseChunkMap,
  prefixBytes,
  readChunkMap
} from '../../../src/model/store/chunk-map.ts'
import { AbsentBytes, openMappedFile } from '../../../src/model/formats/mapped-file.ts'
import { type TempFolder, tempFolder } from '../../support/temp-folder.ts'

const CHUNK = 1024
const SIZE = 10 * CHUNK + 100
const random = seededRandom(5)
const BYTES = Uint8Array.from({ length: SIZE }, () => random.below(256))
const SHA256 = new Bun.CryptoHasher('sha256').update(BYTES).digest('hex')

const chunk = (index: number): Uint8Array => BYTES.subarray(index * CHUNK, (index + 1) * CHUNK)

async function openIn(folder: TempFolder): Promise<ChunkFile> {
  const path = join(folder.path, 'deep', 'weights')
  const file = await ChunkFile.open({ path, sizeBytes: SIZE, sha256: SHA256, chunkBytes: CHUNK })
  if (!file) throw new Error('it is whole')
  return file
}

test('missingRuns() are whole chunks, joined, each once', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  await file.write(3, chunk(3))
  const runs = (...ranges: [number, number][]): number[][] =>
    missingRuns(
      file.map,
      ranges.map(([start, end]) => ({ start, end }))
    ).map(({ start, end }) => [start, end])
  expect(runs([0, 1])).toEqual([[0, 1]])
  expect(runs([CHUNK, 2 * CHUNK])).toEqual([[1, 2]])
  expect(runs([CHUNK - 1, CHUNK + 1])).toEqual([[0, 2]])
  expect(runs([5 * CHUNK, 6 * CHUNK], [0, 10], [5, 2 * CHUNK])).toEqual([
    [0, 2],
    [5, 6]
  ])
  expect(runs([0, SIZE])).toEqual([
    [0, 3],
    [4, 11]
  ])
  expect(runs([3 * CHUNK, 4 * CHUNK])).toEqual([])
  expect(runs()).toEqual([])
})

test('what was committed is there for others, what was only written is not', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  for (const index of [0, 1, 10]) await file.write(index, chunk(index))
  expect(readChunkMap(file.path, SIZE)).toMatchObject({ sha256: SHA256, chunkBytes: CHUNK })
  expect(heldBytes(readChunkMap(file.path, SIZE)!)).toBe(0)
  await file.commit()
  const map = readChunkMap(file.path, SIZE)!
  expect({ held: heldBytes(map), prefix: prefixBytes(map) }).toEqual({
    held: 2 * CHUNK + 100,
    prefix: 2 * CHUNK
  })
  expect([
    hasRange(map, { start: 5, end: 2 * CHUNK }),
    hasRange(map, { start: 5, end: 2 * CHUNK + 1 }),
    hasRange(map, { start: SIZE - 5, end: SIZE })
  ]).toEqual([true, false, true])
})

test('a mapped file gives what is here, refuses what is not, and sees what comes', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  const mapped = openMappedFile(file.path)
  expect({ present: mapped.presentBytes, claimed: mapped.claimedSha256 }).toEqual({
    present: 0,
    claimed: SHA256
  })
  await file.write(2, chunk(2))
  await file.commit()
  expect(() => mapped.bytes(2 * CHUNK, 8)).toThrow(AbsentBytes)
  mapped.refresh()
  expect(mapped.bytes(2 * CHUNK, CHUNK)).toEqual(chunk(2))
  expect(() => mapped.bytes(2 * CHUNK, CHUNK + 1)).toThrow(
    expect.objectContaining({ code: 'INTERNAL', neededBytes: 3 * CHUNK + 1 })
  )
  expect(() => mapped.bytes(SIZE - 1, 2)).toThrow(expect.objectContaining({ code: 'CORRUPT' }))
  for (let i = 0; i < 11; i++) await file.write(i, chunk(i))
  await file.commit()
  expect(await file.complete()).toBe(true)
  mapped.refresh()
  expect(mapped.claimedSha256).toBeUndefined()
  expect(mapped.bytes(0, SIZE)).toEqual(BYTES)
  mapped.close()
})

test('complete() throws away what hashes to something else', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  expect(await file.complete()).toBe(false)
  for (let i = 0; i < 11; i++) await file.write(i, i === 4 ? new Uint8Array(CHUNK) : chunk(i))
  await file.commit()
  const error = (await file.complete().catch((thrown: unknown) => thrown)) as AppError
  expect({ code: error.code, left: existsSync(file.path) }).toEqual({
    code: 'CORRUPT',
    left: false
  })
})

test('a chunk of another length is a fault of ours', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  for (const [index, length] of [
    [0, CHUNK - 1],
    [10, CHUNK],
    [11, 0]
  ] as const) {
    await expect(file.write(index, new Uint8Array(length))).rejects.toThrow(RangeError)
  }
})

test('a crash between journal and file leaves nothing that is taken for whole', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('weights.chunks', emptyJournal(SIZE, CHUNK, SHA256))
  const weights = path.replace('.chunks', '')
  const options = { path: weights, sizeBytes: SIZE, sha256: SHA256, chunkBytes: CHUNK }
  await using file = await ChunkFile.open(options)
  expect(file?.heldBytes).toBe(0)
  expect(statSync(weights).size).toBe(SIZE)
})

test('a file of another size or for another hash is not written into', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('other', new Uint8Array(SIZE - 1))
  const open = (): Promise<unknown> => ChunkFile.open({ path, sizeBytes: SIZE, sha256: SHA256 })
  await expect(open()).rejects.toThrow(expect.objectContaining({ code: 'CORRUPT' }))
  writeFileSync(path, BYTES)
  expect(await open()).toBeUndefined()
  writeFileSync(`${path}.chunks`, emptyJournal(SIZE, CHUNK, 'ab'.repeat(32)))
  await expect(open()).rejects.toThrow(expect.objectContaining({ code: 'CORRUPT' }))
})

test('journals of any bytes are read or refused, and nothing else', async () => {
  const good = emptyJournal(SIZE, CHUNK, SHA256)
  let refused = 0
  for (let seed = 0; seed < 2000; seed++) {
    const dice = seededRandom(seed)
    const bytes = good.slice(0, dice.below(4) === 0 ? dice.below(good.length) : good.length)
    for (let i = 0; i < 2; i++) bytes[dice.below(Math.min(bytes.length, 64))] = dice.below(256)
    try {
      expect(parseChunkMap(bytes, 'x', SIZE).count).toBe(11)
    } catch (error) {
      refused++
      expect({ seed, code: (error as AppError).code }).toEqual({ seed, code: 'CORRUPT' })
    }
  }
  expect(refused).toBeGreaterThan(1000)
})

test('a journal says the hash of each chunk', async () => {
  await using folder = await tempFolder()
  await using file = await openIn(folder)
  await file.write(7, chunk(7))
  await file.commit()
  const journal = readFileSync(`${file.path}.chunks`)
  const hash = new Bun.CryptoHasher('sha256').update(chunk(7)).digest()
  expect(journal.subarray(64 + 7 * 32, 64 + 8 * 32).equals(hash)).toBe(true)
})
