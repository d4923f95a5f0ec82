// What a server tells of itself: each session, who was refused and why, and all of it at the end.
import { expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { createLog } from '../../src/base/log.ts'
import { durationText, ServerEvents, type ToldSession } from '../../src/server/events.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const PEER = 'ab'.repeat(32)

function world(): { clock: FakeClock; events: ServerEvents; told: string[] } {
  const clock = new FakeClock()
  const told: string[] = []
  const log = createLog('info', (line) => void told.push(line.trimEnd()), { clock })
  return { clock, events: new ServerEvents({ clock, log }), told }
}

function sessionOf(clock: FakeClock, tokens = 0): ToldSession {
  const [key, owner] = ['5c'.repeat(16), { peer: PEER }]
  return { key, owner, start: 0, end: 5, maxTokens: 512, tokens, openedAt: clock.now() }
}

const withoutTime = (line: string): string => line.replace(/ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d/, '')

test('sessions are told with their tokens and seconds, and all of them at the end', async () => {
  const { clock, events, told } = world()
  const session = sessionOf(clock)
  events.opened(session)
  events.stepped({ count: 30, computeMs: 1500, queueMs: 1 })
  events.stepped({ count: 1, computeMs: 500, queueMs: 1 })
  await clock.advance(59_200)
  events.ended({ ...session, tokens: 31 }, 'done')
  events.refused(PEER, 'a session', new AppError('LIMIT', 'this peer has 16 open sessions'))
  events.finished()
  expect(told.map(withoutTime)).toEqual([
    'opened: session 5c5c5c5c of abababab: blocks 0:5, up to 512 tokens',
    'closed: session 5c5c5c5c of abababab: 31 tokens in 59.2 s, done',
    'refused: a session of abababab: LIMIT this peer has 16 open sessions',
    'served: 1 session of 1 peer, 31 tokens in 2.0 s of computing, 1 request refused, in 59 s'
  ])
  expect(events.counts).toMatchObject({
    sessions: 1,
    promptTokens: 30,
    generatedTokens: 1,
    ended: { done: 1 },
    refused: { LIMIT: 1 }
  })
})

test('peers cannot fill the log: what was left out is counted', async () => {
  const { clock, events, told } = world()
  const refusal = new AppError('BUSY', 'full')
  for (let i = 0; i < 1000; i++) events.refused(PEER, 'a step', refusal)
  for (let i = 0; i < 1000; i++) {
    events.refused(i.toString(16).padStart(64, '0'), 'a step', refusal)
    events.opened(sessionOf(clock))
  }
  expect(told.length).toBeLessThan(200)
  await clock.advance(61_000)
  events.refused(PEER, 'a step', refusal)
  expect(told.at(-1)).toEndWith('full (and 998 more since the last line like this)')
  expect(events.counts.refused).toEqual({ BUSY: 2001 })
})

test('durationText() says a time in the two units that matter', () => {
  expect([48, 200, 11_520, 90_000].map(durationText)).toEqual([
    '48 s',
    '3 min 20 s',
    '3 h 12 min',
    '1 d 1 h'
  ])
})
