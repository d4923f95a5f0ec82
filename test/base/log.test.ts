// Log lines by level.
import { expect, test } from 'bun:test'
import { createLog, type LogLevel } from '../../src/base/log.ts'

function linesAt(level: LogLevel): string {
  let text = ''
  const log = createLog(level, (line) => {
    text += line
  })
  log.debug('a')
  log.info('b')
  log.warn('c')
  log.error('d')
  return text
}

test('a log writes what is at or above its level, with a prefix that says how grave it is', () => {
  expect(linesAt('debug')).toBe('debug: a\nb\nwarning: c\nerror: d\n')
  expect(linesAt('warn')).toBe('warning: c\nerror: d\n')
  expect(linesAt('silent')).toBe('')
})
