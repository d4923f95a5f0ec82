// Who joined, moved, left and was lost; and that a flood of servers hides no other model.
import { expect, test } from 'bun:test'
import { KnownServers, snapshotOf } from '../../../src/swarm/watch/known-servers.ts'
import type { ServerInfo } from '../../../src/wire/types.ts'
import { infoOf, MODEL } from '../world.ts'

function key(number: number): Uint8Array {
  const peer = Buffer.alloc(32)
  peer.writeUInt32BE(number)
  return new Uint8Array(peer)
}

const info = (peer: number, more: Partial<ServerInfo> = {}): ServerInfo =>
  infoOf(0, 10, { peer: key(peer), issuedAt: 1, expiresAt: 1000, ...more })

test('tells who joined, moved, left and was lost', () => {
  const told: string[] = []
  const known = new KnownServers(({ kind, peer, start, end, at }) => {
    told.push(`${at} ${kind} ${peer.slice(0, 8)} ${start}:${end}`)
  })
  known.heard(info(1), 10)
  known.heard(info(2), 11, { rttMs: 5 })
  known.heard(info(1, { start: 5, end: 15, issuedAt: 3 }), 12)
  known.heard(info(1, { issuedAt: 2 }), 13)
  known.left(key(2), 14)
  known.left(key(2), 15)
  known.expire(999)
  known.expire(1000)
  expect(told).toEqual([
    '10 joined 00000001 0:10',
    '11 joined 00000002 0:10',
    '12 moved 00000001 5:15',
    '14 left 00000002 0:10',
    '1000 lost 00000001 5:15'
  ])
})

test('a server that was asked is alive or silent, and has a round trip', () => {
  const known = new KnownServers(() => {})
  const state = (): unknown => {
    const [server] = known.all
    const { state, rttMs, firstSeenAt, lastSeenAt } = server ? snapshotOf(server) : ({} as never)
    return [state, rttMs, firstSeenAt, lastSeenAt]
  }
  known.heard(info(1), 10)
  expect(state()).toEqual(['unasked', null, 10, 10])
  known.heard(info(1), 20, { rttMs: 7 })
  expect(state()).toEqual(['alive', 7, 10, 20])
  known.silent(key(1), 30)
  expect(state()).toEqual(['silent', 7, 10, 20])
})

test('a flood of servers leaves room for other models, and is bounded', () => {
  const known = new KnownServers(() => {})
  for (let i = 0; i < 5000; i++) known.heard(info(i), 1)
  known.heard(info(9000, { model: new Uint8Array(32).fill(9) }), 1)
  expect(known.all.filter(({ info: one }) => Buffer.compare(one.model, MODEL) !== 0)).toHaveLength(
    1
  )
  for (let i = 0; i < 5000; i++) known.heard(info(10_000 + i, { model: key(i) }), 1)
  expect(known.all.length).toBe(1024)
})
