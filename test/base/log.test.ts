// Log lines by level.
import { expect, test } from 'bun:test'
import { createLog, eventLine, type LogLevel } from '../../src/base/log.ts'

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

const clock = { wall: () => Date.UTC(2026, 11, 1, 10, 29, 44) }

function lines(format: 'text' | 'json'): string[] {
  const written: string[] = []
  const log = createLog('info', (line) => void written.push(line), { format, clock })
  log.info('blocks 0:5\x1b[2J', { event: 'ready', start: 0, end: 5, level: 'fatal' })
  log.warn('a peer "lies"')
  log.debug('left out', { event: 'never' })
  return written
}

test('an event begins its line and has the time, which other lines do without', () => {
  const [ready = '', warning] = lines('text')
  expect(ready).toMatch(/^ready: 2026-1[12]-\d\d \d\d:29:44 blocks 0:5/)
  expect(ready.includes('\x1b')).toBe(false)
  expect(warning).toBe('warning: a peer "lies"\n')
})

test('as JSON each line is one object with time, level, message and what machines need', () => {
  const [ready = '', warning = ''] = lines('json')
  expect(JSON.parse(ready)).toEqual({
    time: '2026-12-01T10:29:44.000Z',
    level: 'info',
    event: 'ready',
    message: expect.stringMatching(/^blocks 0:5/),
    start: 0,
    end: 5
  })
  expect(JSON.parse(warning)).toMatchObject({ level: 'warn', message: 'a peer "lies"' })
  expect(JSON.parse(eventLine('ended', 'told to', { format: 'json', clock }))).toMatchObject({
    event: 'ended',
    message: 'told to'
  })
})
