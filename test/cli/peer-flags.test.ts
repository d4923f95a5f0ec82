// What the words behind --upload-limit and --manifest may be, and what a transfer says of peers.
import { expect, test } from 'bun:test'
import { manifestRoots, uploadLimit } from '../../src/cli/peer-weights.ts'
import { transferText } from '../../src/library/open/transfer-line.ts'

const codeOf = (call: () => unknown): string => {
  try {
    call()
    return 'nothing'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('--upload-limit is 10 MiB a second, or what is given from 64 KiB on', () => {
  expect(uploadLimit({})).toBe(10 * 2 ** 20)
  expect(uploadLimit({ uploadLimit: '2m' })).toBe(2 * 2 ** 20)
  for (const bad of ['0', '63k', 'fast', '']) {
    expect(codeOf(() => uploadLimit({ uploadLimit: bad }))).toBe('BAD_INPUT')
  }
})

test('--manifest is a root for each file', () => {
  const [a, b] = ['ab'.repeat(32), 'CD'.repeat(32)]
  expect(manifestRoots({})).toBeUndefined()
  expect(manifestRoots({ manifest: `${a},${b}` })).toEqual([a, b.toLowerCase()])
  for (const bad of ['', 'ab', `${a},`, `${a} ${b}`]) {
    expect(codeOf(() => manifestRoots({ manifest: bad }))).toBe('BAD_INPUT')
  }
})

test('a transfer tells the share of peers', () => {
  const text = transferText('m', { doneBytes: 1000, totalBytes: 4000, peerBytes: 630 })
  expect(text).toBe('m: [#####---------------] 1000 B of 3.9 KiB (63 % from peers)')
})
