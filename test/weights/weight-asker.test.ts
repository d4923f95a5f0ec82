// Answers about weights put together from pieces, and peers that give other than they were asked
// for.
import { describe, expect, test } from 'bun:test'
import { disconnected } from '../../src/base/errors.ts'
import { WeightAsker } from '../../src/weights/weight-asker.ts'
import type { PeerLink } from '../../src/wire/link.ts'
import type { Give, Want } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

function setUp(): {
  asker: WeightAsker
  clock: FakeClock
  link: PeerLink
  wants: Want[]
  give: (give: Partial<Give>) => void
} {
  const clock = new FakeClock()
  const asker = new WeightAsker(clock)
  const wants: Want[] = []
  const link = { peer: 'ab'.repeat(32), closed: false, want: (want: Want) => wants.push(want) > 0 }
  const give = (more: Partial<Give>): void =>
    asker.handlers.ongive(link as never, {
      request: wants.at(-1)?.request ?? 0,
      left: 0,
      data: new Uint8Array(0),
      ...more
    })
  return { asker, clock, link: link as never, wants, give }
}

const question = { what: 'bytes', name: 'f'.repeat(64), start: 5, count: 6 } as const
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'nothing',
    (error: { code: string }) => error.code
  )

describe('WeightAsker', () => {
  test('puts pieces together', async () => {
    const { asker, clock, link, wants, give } = setUp()
    const answer = asker.ask(link, question, { maxBytes: 6 })
    expect(wants).toEqual([{ request: 1, what: 3, name: question.name, start: 5, count: 6 }])
    give({ left: 2, data: new Uint8Array([1, 2, 3, 4]) })
    give({ left: 0, data: new Uint8Array([5, 6]) })
    expect(await answer).toEqual(new Uint8Array([1, 2, 3, 4, 5, 6]))
    expect(clock.pending).toBe(0)
  })

  test('allocates nothing for a promise over what was asked for', async () => {
    const { asker, link, give } = setUp()
    for (const left of [3, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
      const answer = codeOf(asker.ask(link, question, { maxBytes: 6 }))
      give({ left, data: new Uint8Array(4) })
      expect(await answer).toBe('PROTOCOL')
    }
  })

  test('refuses pieces that do not fit those before them', async () => {
    const { asker, link, give } = setUp()
    for (const second of [
      { left: 0, data: new Uint8Array(1) },
      { left: 0, data: new Uint8Array(3) },
      { left: 2, data: new Uint8Array(0) },
      { left: 5, data: new Uint8Array(2) }
    ]) {
      const answer = codeOf(asker.ask(link, question, { maxBytes: 6 }))
      give({ left: 2, data: new Uint8Array(4) })
      give(second)
      expect(await answer).toBe('PROTOCOL')
    }
  })

  test('does not listen to what was not asked, nor to another link', async () => {
    const { asker, clock, link, give } = setUp()
    give({ request: 77, data: new Uint8Array(9) })
    const answer = codeOf(asker.ask(link, question, { maxBytes: 6 }))
    const other = { peer: 'cd', closed: false } as never
    asker.handlers.ongive(other, { request: 1, left: 0, data: new Uint8Array(6) })
    await clock.advance(10_000)
    expect(await answer).toBe('TIMEOUT')
  })

  test('waits on while pieces come, and gives up on silence', async () => {
    const { asker, clock, link, give } = setUp()
    const answer = codeOf(asker.ask(link, question, { maxBytes: 6 }))
    for (let left = 5; left >= 1; left--) {
      give({ left, data: new Uint8Array(1) })
      await clock.advance(9000)
    }
    await clock.advance(1000)
    expect(await answer).toBe('TIMEOUT')
  })

  test('fails as the peer refuses, leaves, or as it is told to stop', async () => {
    const { asker, link, give } = setUp()
    const refused = ['BUSY', 'NOT_FOUND', 'DENIED', 'nonsense']
    const codes: unknown[] = []
    for (const code of refused) {
      const answer = codeOf(asker.ask(link, question, { maxBytes: 6 }))
      give({ refused: code as never })
      codes.push(await answer)
    }
    expect(codes).toEqual(['BUSY', 'NOT_FOUND', 'UNAVAILABLE', 'UNAVAILABLE'])
    const left = codeOf(asker.ask(link, question, { maxBytes: 6 }))
    asker.handlers.onclosed(link, disconnected('gone'))
    expect(await left).toBe('DISCONNECTED')
    const abort = new AbortController()
    const stopped = codeOf(asker.ask(link, question, { maxBytes: 6, signal: abort.signal }))
    abort.abort()
    expect(await stopped).toBe('CANCELLED')
  })
})
