// The policies of failures: how long to wait for an answer, and what to make of an error.
import { expect, test } from 'bun:test'
import { AppError, type ErrorCode } from '../../../src/base/errors.ts'
import { HopFailure, isSoundTensor } from '../../../src/client/route/hop.ts'
import { Patience } from '../../../src/client/session/patience.ts'
import { Repairs, type Standing } from '../../../src/client/session/repairs.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { WireDtype } from '../../../src/wire/types.ts'

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

test('one server that says it is our fault is gone round; that it is, takes it twice or three', () => {
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

test('patience is long with what is unknown, and a multiple of what was seen', () => {
  const patience = new Patience(60_000)
  expect([patience.limitMs(1, 10), patience.limitMs(128, 10)]).toEqual([60_000, 60_000])
  patience.note(1, 10, 30)
  expect([patience.limitMs(1, 10), patience.limitMs(128, 10)]).toEqual([5_000, 60_000])
  patience.note(128, 10, 1280)
  expect([patience.limitMs(1, 10), patience.limitMs(128, 20)]).toEqual([5_000, 51_200])
  patience.note(1, 10, 1_000)
  expect(patience.limitMs(1, 10)).toBe(20_000)
})

test('patience doubles each time that it runs out, until an answer comes', () => {
  const patience = new Patience(60_000)
  patience.note(1, 10, 30)
  const limits = [1, 2, 3, 4].map(() => {
    patience.ranOut()
    return patience.limitMs(1, 10)
  })
  expect(limits).toEqual([10_000, 20_000, 40_000, 60_000])
  patience.note(1, 10, 30)
  expect(patience.limitMs(1, 10)).toBe(5_000)
})

test('values that no block makes are told from those that one may', () => {
  const sound = (dtype: WireDtype, value: number): boolean =>
    isSoundTensor(encodeTensor(Float32Array.of(1, value, -value, 0), 2, 2, dtype))
  const dtypes: WireDtype[] = ['f32', 'f16', 'bf16', 'int8']
  expect(dtypes.map((dtype) => sound(dtype, 60_000))).toEqual([true, true, true, true])
  expect(dtypes.map((dtype) => dtype === 'f16' || sound(dtype, 2e16))).toEqual([
    false,
    true,
    false,
    false
  ])
  const nan = new Uint8Array(8).fill(0xff)
  for (const [dtype, columns] of [
    ['f32', 2],
    ['f16', 4],
    ['bf16', 4],
    ['int8', 4]
  ] as const) {
    expect(isSoundTensor({ dtype, rows: 1, columns, data: nan })).toBe(false)
  }
})
