import { expect, test } from 'bun:test'
import { disconnected, noRoute } from '../../../src/base/errors.ts'
import { WaitTelling } from '../../../src/client/text/wait-telling.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

const GONE = disconnected('The server went away')
const NOBODY = noRoute('Nobody serves blocks 2:4')

function open(): {
  clock: FakeClock
  telling: WaitTelling
  heard: (string | number | undefined)[][]
} {
  const clock = new FakeClock()
  const heard: (string | number | undefined)[][] = []
  const telling = new WaitTelling(clock, (why, leftMs) => void heard.push([why?.message, leftMs]))
  return { clock, telling, heard }
}

test('what is mended within a moment is told to nobody, and leaves no timer', async () => {
  const { clock, telling, heard } = open()
  telling.note(GONE, 60_000)
  await clock.advance(1_000)
  telling[Symbol.dispose]()
  await clock.advance(60_000)
  expect([heard, clock.pending]).toEqual([[], 0])
})

test('what takes longer is told with the time that is left, until it is done', async () => {
  const { clock, telling, heard } = open()
  telling.note(GONE, 60_000)
  await clock.advance(2_000)
  telling[Symbol.dispose]()
  await clock.advance(5_000)
  expect([heard, clock.pending]).toEqual([
    [
      ['The server went away', 58_500],
      ['The server went away', 58_000],
      [undefined, 0]
    ],
    0
  ])
})

test('that nobody serves a block is told rather than who went away last', async () => {
  const { clock, telling, heard } = open()
  for (const why of [GONE, NOBODY, GONE]) telling.note(why, 60_000)
  await clock.advance(1_500)
  expect(heard).toEqual([['Nobody serves blocks 2:4', 58_500]])
  telling[Symbol.dispose]()
})

test('without anybody to tell there is no timer', () => {
  const clock = new FakeClock()
  using telling = new WaitTelling(clock, undefined)
  telling.note(GONE, 60_000)
  expect(clock.pending).toBe(0)
})
