import { expect, test } from 'bun:test'
import { useOfStdin, type StdinFacts } from '../../../src/cli/chat/stdin.ts'

const facts = (kind: StdinFacts['kind'], more: Partial<StdinFacts> = {}): StdinFacts => ({
  kind,
  isBegun: false,
  isLoop: false,
  ...more
})

const ALL: readonly StdinFacts[] = [
  facts('terminal'),
  facts('none'),
  facts('file'),
  facts('file', { isBegun: true }),
  facts('pipe'),
  facts('pipe', { isLoop: true }),
  facts('socket'),
  facts('device')
]

test('beside words a whole file and a pipe are read, and nothing that is somebody else’s', () => {
  expect(ALL.map((one) => useOfStdin(one, 'Summarise').isRead)).toEqual([
    false,
    false,
    true,
    false,
    true,
    false,
    false,
    false
  ])
})

test('without words everything but a terminal is the prompt', () => {
  expect(ALL.map((one) => useOfStdin(one, undefined).isRead)).toEqual([
    false,
    false,
    true,
    true,
    true,
    true,
    true,
    true
  ])
})

test('a socket that is not read is told, a folder is refused', () => {
  expect(useOfStdin(facts('socket'), 'Summarise').note).toContain('stdin is a socket')
  for (const words of [undefined, 'Summarise']) {
    expect(() => useOfStdin(facts('folder'), words)).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT' })
    )
  }
})
