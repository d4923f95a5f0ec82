// The policy of failures: what to make of an error, and of a server's word about another.
import { expect, test } from 'bun:test'
import { AppError, type ErrorCode } from '../../../src/base/errors.ts'
import { HopFailure } from '../../../src/client/session/hop-failure.ts'
import { Repairs, type Standing } from '../../../src/client/session/repairs.ts'

const hop: Standing = { isHop: true, canCarry: () => false }
const pusher: Standing = { isHop: true, canCarry: () => true }

function failure(peer: string, code: ErrorCode, teller?: string): HopFailure {
  const error = new AppError(code, 'no', { retryAfterMs: 7_000 })
  return new HopFailure(peer, error, teller === undefined ? {} : { teller })
}

test("a server's word about the next one costs that one nothing", () => {
  const codes: ErrorCode[] = ['COMPUTE', 'PROTOCOL', 'BAD_INPUT', 'DENIED', 'TIMEOUT', 'BUSY']
  for (const code of codes) {
    const repairs = new Repairs()
    const carry = repairs.decide(failure('b', code, 'a'), pusher)
    expect({ code, carry }).toEqual({ code, carry: { kind: 'carry', after: 'a' } })
    const leave = repairs.decide(failure('b', code, 'a'), hop)
    expect({ code, leave }).toEqual({ code, leave: { kind: 'leave', avoidMs: 0 } })
  }
})

test('that the next one forgot the session is believed twice', () => {
  const repairs = new Repairs()
  const kinds = [1, 2, 3].map(() => repairs.decide(failure('b', 'NOT_FOUND', 'a'), pusher).kind)
  expect(kinds).toEqual(['leave', 'leave', 'carry'])
})

test('one server that says it is our fault is avoided; that it is, takes it twice or three', () => {
  const repairs = new Repairs()
  const kinds = (...peers: string[]): string[] =>
    peers.map((peer) => repairs.decide(failure(peer, 'BAD_INPUT'), hop).kind)
  expect(kinds('a', 'a')).toEqual(['leave', 'fatal'])
  repairs.done()
  expect(kinds('a', 'b', 'c')).toEqual(['leave', 'leave', 'fatal'])
})

test('servers that fail again and again are tried less and less often', () => {
  const repairs = new Repairs()
  const rests = ['a', 'b', 'a', 'a', 'c'].map((peer) => {
    repairs.decide(failure(peer, 'TIMEOUT'), hop)
    return repairs.restMs
  })
  expect(rests).toEqual([0, 0, 200, 400, 400])
  repairs.done()
  expect(repairs.restMs).toBe(0)
})
