import { expect, test } from 'bun:test'
import { takeStderr, writeStderr } from '../../../src/cli/terminal/stderr.ts'

test('what is said goes to whoever took it last, and back again', () => {
  const seen: string[] = []
  const giveBack = takeStderr((text) => seen.push(`outer ${text}`))
  const inner = takeStderr((text) => seen.push(`inner ${text}`))
  writeStderr('a')
  inner()
  writeStderr('b')
  giveBack()
  expect(seen).toEqual(['inner a', 'outer b'])
})
