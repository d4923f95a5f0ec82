import { expect, test } from 'bun:test'
import { KeyReader, type Key } from '../../../src/cli/terminal/keys.ts'

const names = (keys: readonly Key[]): string[] =>
  keys.map((key) => (key.kind === 'key' ? key.name : `${key.kind}:${key.text}`))

test('keys of several terminals mean the same', () => {
  const typed = '\x1b[A\x1bOB\x1b[1;5C\x1bb\x1b[H\x1b[4~\x1b[3~\x7f\x01\x0b\x17\x19\x1b\r\r\n'
  expect(names(new KeyReader().push(typed))).toEqual([
    'up',
    'down',
    'word-right',
    'word-left',
    'home',
    'end',
    'delete',
    'backspace',
    'home',
    'kill-end',
    'kill-word-left',
    'yank',
    'newline',
    'enter',
    'enter'
  ])
})

test('a paste is one text, whatever it holds, and however it is cut', () => {
  const typed = 'a\x1b[200~one\r\n/new\r\x03two\x1b[201~b'
  const whole = names(new KeyReader().push(typed))
  expect(whole).toEqual(['text:a', 'paste:one\n/new\n\x03two', 'text:b'])
  const reader = new KeyReader()
  const pieces = [...typed].flatMap((one) => reader.push(one))
  expect(names(pieces)).toEqual(whole)
})

test('what means nothing is dropped as a whole, also when it is cut', () => {
  const reader = new KeyReader()
  const keys = ['a\x1b[', '99;5', 'u', 'b\x1b[<0;1;1', 'Mc\x00\x9b\x1bxd'].flatMap((one) =>
    reader.push(one)
  )
  expect(names(keys)).toEqual(['text:a', 'text:b', 'text:c', 'text:d'])
})

test('characters that bytes cut in two arrive whole', () => {
  const reader = new KeyReader()
  const bytes = new TextEncoder().encode('é🙂')
  const keys = [...bytes].flatMap((byte) => reader.push(Uint8Array.of(byte)))
  expect(names(keys).join('')).toBe('text:étext:🙂')
})

test('a sequence that never ends is no sequence', () => {
  const reader = new KeyReader()
  reader.push(`\x1b[${'1'.repeat(100)}`)
  expect(names(reader.push('x'))).toEqual(['text:x'])
})
