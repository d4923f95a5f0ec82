import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { WordWrap } from '../../../src/cli/terminal/word-wrap.ts'
import { FakeTerminal } from '../../support/fakes/fake-terminal.ts'

/** What a terminal shows of a text that comes in pieces. */
function shown(pieces: readonly string[], columns = 12): string[] {
  const terminal = new FakeTerminal(columns)
  const wrap = new WordWrap(() => terminal.columns)
  for (const piece of pieces) terminal.write(wrap.push(piece).replaceAll('\n', '\r\n'))
  return terminal.screen
}

test('words that do not fit go to the next row, also when they came in pieces', () => {
  expect(shown(['one two three four'])).toEqual(['one two', 'three four'])
  expect(shown(['one two th', 'r', 'ee four'])).toEqual(['one two', 'three four'])
  expect(shown(['exactly ten', ' more'])).toEqual(['exactly ten', 'more'])
})

test('pieces may be cut anywhere', () => {
  const text = 'The quick brown fox, and   the lazy dog.\n\nA new line with words of length.'
  const random = seededRandom(7)
  const whole = shown([text])
  for (let i = 0; i < 20; i++) {
    const pieces: string[] = []
    for (let at = 0; at < text.length;) {
      const length = 1 + random.below(9)
      pieces.push(text.slice(at, at + length))
      at += length
    }
    expect(shown(pieces)).toEqual(whole)
  }
})

test('a word longer than half a row is broken where the row ends', () => {
  expect(shown(['a verylongwordthatgoeson'])).toEqual(['a verylongw', 'ordthatgoes', 'on'])
})

test('scripts without spaces break anywhere, and wide characters count twice', () => {
  expect(shown(['天空为什么是蓝色的'], 9)).toEqual(['天空为什', '么是蓝色', '的'])
})

test('code between fences stays as it is', () => {
  const code = '```\nlet a = 1 + 22222\n```\none two three'
  expect(shown([code])).toEqual(['```', 'let a = 1 +', '22222', '```', 'one two', 'three'])
})
