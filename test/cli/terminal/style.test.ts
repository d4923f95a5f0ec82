import { expect, test } from 'bun:test'
import { fitWidth } from '../../../src/base/progress.ts'
import { startSpinner } from '../../../src/cli/terminal/spinner.ts'
import { hasCursor, styleFor } from '../../../src/cli/terminal/style.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { FakeTerminal } from '../../support/fakes/fake-terminal.ts'

test('a dumb terminal and a file get no escape sequences, NO_COLOR no styles', () => {
  expect([
    hasCursor(true, { TERM: 'xterm' }),
    hasCursor(true, {}),
    hasCursor(true, { TERM: 'dumb' }),
    hasCursor(undefined, { TERM: 'xterm' })
  ]).toEqual([true, true, false, false])
  const dims = [
    styleFor(true, { TERM: 'xterm' }),
    styleFor(true, { NO_COLOR: '' }),
    styleFor(true, { NO_COLOR: '1' }),
    styleFor(true, { TERM: 'dumb' }),
    styleFor(false, {})
  ].map(({ dim }) => dim('x'))
  expect(dims).toEqual(['\x1b[2mx\x1b[22m', '\x1b[2mx\x1b[22m', 'x', 'x', 'x'])
})

test('a spinner shows what goes on after a moment, within the row, and leaves nothing', async () => {
  const clock = new FakeClock()
  const terminal = new FakeTerminal(16)
  const options = { write: (text: string) => terminal.write(text), columns: () => 16, clock }
  const quick = startSpinner(() => 'quick', options)
  await clock.advance(100)
  quick.stop()
  expect(terminal.written).toBe('')
  const spinner = startSpinner((seconds) => `waiting for it, ${seconds} s`, options)
  await clock.advance(2100)
  expect(terminal.screen[0]?.slice(1)).toBe(' waiting for i')
  spinner.stop()
  await clock.advance(1000)
  expect([terminal.screen, terminal.cursor]).toEqual([[], [0, 0]])
})

test('fitWidth() counts columns, and cuts no character in two', () => {
  expect([fitWidth('abc', 3), fitWidth('abcd', 3), fitWidth('日本', 3), fitWidth('é', 0)]).toEqual([
    'abc',
    'abc',
    '日',
    ''
  ])
})
