// The line of progress: only on a terminal, not too often, gone at the end.
import { expect, test } from 'bun:test'
import { createProgress } from '../../src/base/progress.ts'

function terminal(
  isTTY: boolean,
  columns = 20
): { isTTY: boolean; columns: number; text: string; write(text: string): void } {
  return {
    isTTY,
    columns,
    text: '',
    write(text) {
      this.text += text
    }
  }
}

test('writes nothing where there is no terminal', () => {
  const stream = terminal(false)
  const progress = createProgress(stream, () => 0)
  progress.update('half')
  progress.done()
  expect(stream.text).toBe('')
})

test('rewrites its line in place, at most ten times a second', () => {
  const stream = terminal(true)
  let now = 0
  const progress = createProgress(stream, () => now)
  progress.update('1 %')
  now = 99
  progress.update('2 %')
  now = 100
  progress.update('3 %')
  expect(stream.text).toBe('\r\x1b[2K1 %\r\x1b[2K3 %')
})

test('is cut to the terminal’s width, so that it stays one line', () => {
  const stream = terminal(true, 5)
  createProgress(stream, () => 0).update('123456789')
  expect(stream.text).toBe('\r\x1b[2K1234')
})

test('done() removes the line, and writes nothing when none was shown', () => {
  const shown = terminal(true)
  const progress = createProgress(shown, () => 0)
  progress.update('x')
  progress.done()
  progress.done()
  expect(shown.text).toBe('\r\x1b[2Kx\r\x1b[2K')
  const silent = terminal(true)
  createProgress(silent, () => 0).done()
  expect(silent.text).toBe('')
})
