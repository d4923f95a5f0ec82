// Which of two links to one peer is used, and when the other one goes: by a clock that stands
// still.
import { describe, expect, test } from 'bun:test'
import { LinkTable } from '../../src/swarm/link-table.ts'
import type { PeerLink } from '../../src/wire/link.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

/** As much of a link as the table looks at. */
class FakeLink {
  readonly peer: string
  readonly initiator: boolean
  remote: object | undefined = {}
  closed = false
  used = false
  readonly #table: LinkTable

  constructor(table: LinkTable, peer: string, initiator: boolean) {
    this.#table = table
    this.peer = peer
    this.initiator = initiator
  }

  get asLink(): PeerLink {
    return this as unknown as PeerLink
  }

  destroy(): void {
    this.closed = true
    this.#table.remove(this.asLink)
  }
}

function world(): {
  clock: FakeClock
  table: LinkTable
  open(peer: string, initiator: boolean): FakeLink
} {
  const clock = new FakeClock()
  const table = new LinkTable('bb', clock)
  return {
    clock,
    table,
    open(peer, initiator) {
      const link = new FakeLink(table, peer, initiator)
      table.add(link.asLink)
      return link
    }
  }
}

describe('LinkTable', () => {
  test('gives no link that has not said hello or is closed', () => {
    const { table, open } = world()
    const link = open('aa', true)
    link.remote = undefined
    expect(table.get('aa')).toBeUndefined()
    link.remote = {}
    expect(table.get('aa')).toBe(link.asLink)
    link.destroy()
    expect([table.get('aa'), table.size, [...table]]).toEqual([undefined, 0, []])
  })

  test('prefers the link that the greater key made, in whatever order they came', () => {
    for (const [peer, ours] of [
      ['aa', true],
      ['cc', false]
    ] as const) {
      for (const first of [true, false]) {
        const { table, open } = world()
        open(peer, first)
        open(peer, !first)
        expect(table.get(peer)?.initiator).toBe(ours)
      }
    }
  })

  test('replaces a link by a newer one of the same maker', () => {
    const { table, open } = world()
    const [old, other, fresh] = [open('aa', false), open('aa', true), open('aa', false)]
    expect([old.closed, other.closed, fresh.closed, table.size]).toEqual([true, false, false, 2])
  })

  test('lets a spare link go when nobody has used it', async () => {
    const { clock, open } = world()
    const [kept, spare] = [open('aa', true), open('aa', false)]
    await clock.advance(9999)
    expect(spare.closed).toBe(false)
    await clock.advance(1)
    expect([kept.closed, spare.closed]).toEqual([false, true])
  })

  test('keeps a spare link that is in use', async () => {
    const { clock, open } = world()
    const [kept, spare] = [open('aa', true), open('aa', false)]
    spare.used = true
    await clock.advance(60_000)
    expect([kept.closed, spare.closed]).toEqual([false, false])
  })
})
