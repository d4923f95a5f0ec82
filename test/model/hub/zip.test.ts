// One member out of a zip file, and out of files that only say they are one.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { extractMember } from '../../../src/model/hub/zip.ts'
import { spoil } from '../../support/hostile/hostile.ts'
import { tempFolder } from '../../support/temp-folder.ts'
import { writeZip } from '../../support/models/zip-writer.ts'

const BYTES = new TextEncoder().encode('the quick brown fox '.repeat(5000))
const sizeBytes = BYTES.byteLength

for (const deflate of [true, false]) {
  test(`extractMember() unpacks what is ${deflate ? 'deflated' : 'stored'}`, async () => {
    await using folder = await tempFolder()
    const members = [
      { name: 'a/other', bytes: new Uint8Array(100) },
      { name: 'a/wanted', bytes: BYTES, deflate }
    ]
    const zip = await folder.write('x.zip', writeZip(members))
    const out = join(folder.path, 'out')
    await extractMember(zip, 'a/wanted', out, { sizeBytes })
    expect(readFileSync(out).equals(Buffer.from(BYTES))).toBe(true)
  })
}

test('a member that unpacks to more than it says is stopped there', async () => {
  await using folder = await tempFolder()
  const bomb = new Uint8Array(50_000_000)
  const zip = await folder.write(
    'x.zip',
    writeZip([{ name: 'm', bytes: bomb, claimedBytes: 1000 }])
  )
  const out = join(folder.path, 'out')
  await expect(extractMember(zip, 'm', out, { sizeBytes: 1000 })).rejects.toThrow(
    expect.objectContaining({ code: 'CORRUPT' })
  )
  expect(readFileSync(out).byteLength).toBeLessThanOrEqual(1000)
})

test('a member of another size, or that is not there, is refused', async () => {
  await using folder = await tempFolder()
  const zip = await folder.write('x.zip', writeZip([{ name: 'm', bytes: BYTES }]))
  const out = join(folder.path, 'out')
  await expect(extractMember(zip, 'm', out, { sizeBytes: 5 })).rejects.toThrow(/promised/)
  await expect(extractMember(zip, 'n', out, { sizeBytes })).rejects.toThrow(
    expect.objectContaining({ code: 'NOT_FOUND' })
  )
})

test('600 spoiled zip files give the right bytes or an error, and nothing else', async () => {
  await using folder = await tempFolder()
  const good = writeZip([
    { name: 'a', bytes: new Uint8Array(50) },
    { name: 'm', bytes: BYTES.subarray(0, 400) }
  ])
  const out = join(folder.path, 'out')
  let refused = 0
  for (let seed = 0; seed < 600; seed++) {
    const zip = await folder.write('x.zip', spoil(good, seededRandom(seed)))
    try {
      await extractMember(zip, 'm', out, { sizeBytes: 400 })
      expect(readFileSync(out).byteLength).toBe(400)
    } catch (error) {
      refused++
      expect(error).toBeInstanceOf(AppError)
    }
  }
  expect(refused).toBeGreaterThan(100)
})
