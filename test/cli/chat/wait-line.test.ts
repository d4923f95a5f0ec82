import { expect, test } from 'bun:test'
import { noRoute, timedOut } from '../../../src/base/errors.ts'
import { waitLine } from '../../../src/cli/chat/wait-line.ts'
import { waitText } from '../../../src/library/text/wait-text.ts'

const WHY = noRoute('No route through the model: nobody serves blocks 10:20')

function terminal(isTTY = true): {
  isTTY: boolean
  columns: number
  text: string[]
  write(text: string): void
} {
  const text: string[] = []
  return { isTTY, columns: 80, text, write: (part) => void text.push(part) }
}

test('the line tells what is waited for and for how long yet, once a second', () => {
  const stream = terminal()
  const line = waitLine(stream)
  for (const leftMs of [47_300, 47_100, 46_900]) line(waitText(WHY, leftMs))
  expect(stream.text.map((part) => part.split('\x1b[2K')[1])).toEqual([
    'nobody serves blocks 10:20; waiting for a server, 48 s more',
    'nobody serves blocks 10:20; waiting for a server, 47 s more'
  ])
})

test('the line stands below the answer, and leaves the place where that goes on', () => {
  const stream = terminal()
  const line = waitLine(stream)
  line(waitText(WHY, 1000))
  line(undefined)
  line(undefined)
  expect([stream.text[0]?.startsWith('\x1bD\x1b[A\x1b7\x1b[B\r'), ...stream.text.slice(1)]).toEqual(
    [true, '\r\x1b[2K\x1b8']
  )
})

test('the line is as wide as the terminal at most, and nothing without one', () => {
  const narrow = { ...terminal(), columns: 20 }
  const none = terminal(false)
  for (const stream of [narrow, none]) {
    const line = waitLine(stream)
    line(waitText(WHY, 1000))
    line(undefined)
  }
  expect(narrow.text[0]?.endsWith('\r\x1b[2Knobody serves block')).toBe(true)
  expect(none.text).toEqual([])
})

test('why a server failed is not told, only that another is looked for', () => {
  expect(waitText(timedOut('Opening a session took too long: 2500 ms have passed'), 9_001)).toBe(
    'a server went away; looking for another, 10 s more'
  )
})
