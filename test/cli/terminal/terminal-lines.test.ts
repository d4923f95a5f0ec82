// The line editor on a terminal that keeps what is shown.
import { expect, test } from 'bun:test'
import { FakeTerminal } from '../../support/fakes/fake-terminal.ts'
import type { Read } from '../../../src/cli/terminal/line-source.ts'
import {
  TerminalLines,
  type TerminalLinesOptions
} from '../../../src/cli/terminal/terminal-lines.ts'

interface Typing {
  readonly terminal: FakeTerminal
  readonly lines: TerminalLines
  read(): Promise<Read>
}

function typing(more: Partial<TerminalLinesOptions> = {}, columns = 20, rows = 10): Typing {
  const terminal = new FakeTerminal(columns, rows)
  const lines = new TerminalLines({ input: terminal, output: terminal, history: () => [], ...more })
  const { signal } = new AbortController()
  return { terminal, lines, read: () => lines.read(signal) }
}

const line = (text: string, isPasted = false): Read => ({ kind: 'line', text, isPasted })

test('a line is edited where it stands, and given at Enter', async () => {
  const { terminal, read } = typing()
  const reading = read()
  terminal.type('helo world\x1bb\x1b[D\x1b[Dl')
  expect([terminal.screen, terminal.cursor]).toEqual([['> hello world'], [0, 6]])
  terminal.type('\x05!\x01X\x7f\r')
  expect([await reading, terminal.screen]).toEqual([line('hello world!'), ['> hello world!']])
  expect(terminal.cursor).toEqual([1, 0])
})

test('long lines break into rows, and the cursor finds its place in them', async () => {
  const { terminal, read } = typing({}, 10)
  void read()
  terminal.type('abcdefghijklmnopq')
  expect([terminal.screen, terminal.cursor]).toEqual([
    ['> abcdefgh', 'ijklmnopq'],
    [1, 9]
  ])
  terminal.type('r')
  expect(terminal.cursor).toEqual([2, 0])
  terminal.type('\x01')
  expect(terminal.cursor).toEqual([0, 2])
  terminal.type('\x1b[3~')
  expect(terminal.screen).toEqual(['> bcdefghi', 'jklmnopqr'])
})

test('wide and joined characters are one step and their width', async () => {
  const { terminal, read } = typing()
  void read()
  terminal.type('日本👨‍👩‍👧é')
  expect(terminal.cursor).toEqual([0, 2 + 4 + 2 + 1])
  terminal.type('\x1b[D\x1b[D')
  expect(terminal.cursor).toEqual([0, 6])
  terminal.type('\x7f')
  expect(terminal.screen[0]).toStartWith('> 日')
  expect(terminal.cursor).toEqual([0, 4])
})

test('a paste of several lines is one question, and obeys nothing in it', async () => {
  const { terminal, read } = typing()
  const reading = read()
  terminal.type('\x1b[200~one\n/new\ntwo\x1b[201~')
  expect(terminal.screen).toEqual(['> one', '. /new', '. two'])
  terminal.type('\r')
  expect(await reading).toEqual(line('one\n/new\ntwo', true))
})

test('quotes, a backslash and Alt-Enter go on in the next line', async () => {
  const { terminal, read } = typing()
  const first = read()
  terminal.type('"""one\rtwo\r"""\r')
  expect(await first).toEqual(line('one\ntwo'))
  const second = read()
  terminal.type('one\\\rtwo\x1b\rthree\r')
  expect(await second).toEqual(line('one\ntwo\nthree'))
})

test('the arrows bring back what was asked, and what was being typed', async () => {
  const { terminal, read } = typing({ history: () => ['first', 'two\nlines'] })
  const reading = read()
  terminal.type('now\x1b[A')
  expect(terminal.screen).toEqual(['> two', '. lines'])
  terminal.type('\x1b[A\x1b[A')
  expect(terminal.screen).toEqual(['> first'])
  terminal.type('\x1b[B\x1b[B')
  expect(terminal.screen).toEqual(['> now'])
  terminal.type('\r')
  expect(await reading).toEqual(line('now'))
})

test('Ctrl-C takes away what is typed, and is told when there is nothing; so is Ctrl-D', async () => {
  const { terminal, read } = typing()
  const first = read()
  terminal.type('half a li\x03')
  expect(terminal.screen).toEqual(['> half a li', '>'])
  terminal.type('\x03')
  expect(await first).toEqual({ kind: 'interrupt' })
  const second = read()
  terminal.type('x\x01\x04\x04')
  expect(await second).toEqual({ kind: 'end' })
})

test('what is typed ahead shows nothing until it is read, and Ctrl-C stops the answer', async () => {
  const { terminal, lines, read } = typing()
  let stopped = 0
  lines.onstop = () => stopped++
  terminal.type('ahead\rmore')
  terminal.type('\x03')
  expect([terminal.screen, stopped]).toEqual([[], 1])
  expect(await read()).toEqual(line('ahead'))
  void read()
  expect(terminal.screen).toEqual(['> ahead', '> more'])
})

test('a new width draws the line anew', async () => {
  let resize = (): void => {}
  const onresize = (listener: () => void): (() => void) => {
    resize = listener
    return () => {}
  }
  const { terminal, read } = typing({ onresize }, 30)
  void read()
  terminal.type('one two three four')
  terminal.columns = 40
  resize()
  expect(terminal.screen).toEqual(['> one two three four'])
})

test('a text of more rows than the terminal shows those about the cursor', async () => {
  const { terminal, read } = typing({}, 20, 4)
  void read()
  terminal.type('\x1b[200~1\n2\n3\n4\n5\n6\x1b[201~')
  expect([terminal.screen, terminal.cursor]).toEqual([
    ['. 4', '. 5', '. 6'],
    [2, 3]
  ])
  terminal.type('\x1b[A\x1b[A\x1b[A')
  expect(terminal.screen).toEqual(['> 1', '. 2', '. 3'])
})

test('the tab key completes the only command that begins so', async () => {
  const complete = (text: string): string[] =>
    ['/save', '/set'].filter((word) => word.startsWith(text))
  const { terminal, read } = typing({ complete })
  const reading = read()
  terminal.type('/s\t\x7fse\t')
  terminal.type('x\r')
  expect(await reading).toEqual(line('/set x'))
  const again = read()
  terminal.type('/sa\tx\r')
  expect(await again).toEqual(line('/save x'))
})

test('the terminal is given back as it was', () => {
  const { terminal, lines } = typing()
  expect(terminal.isRaw).toBe(true)
  lines.close()
  lines.close()
  expect(terminal.isRaw).toBe(false)
  expect(terminal.written).toBe('\x1b[?2004h\x1b[?2004l')
})

test('a process that is stopped leaves the terminal to others meanwhile', async () => {
  const seen: boolean[] = []
  const { terminal, read } = typing({ suspend: () => void seen.push(terminal.isRaw) })
  void read()
  terminal.type('half\x1a')
  expect([seen, terminal.isRaw, terminal.screen]).toEqual([[false], true, ['> half', '> half']])
})

test('a line that is told meanwhile stands above what is typed, also where that is long', async () => {
  const { terminal, lines, read } = typing({}, 10)
  expect(lines.above('early\n')).toBe(false)
  const reading = read()
  terminal.type('abcdefghijk\x1b[D')
  expect(lines.above('told\n')).toBe(true)
  expect([terminal.screen, terminal.cursor]).toEqual([
    ['told', '> abcdefgh', 'ijk'],
    [2, 2]
  ])
  terminal.type('!\r')
  expect(await reading).toEqual(line('abcdefghij!k'))
  expect(lines.above('late\n')).toBe(false)
})
