// What a session's chain remembers: servers, and what each boundary was sent.
import { expect, test } from 'bun:test'
import type { Hop } from '../../../src/client/route/hop.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { Chain } from '../../../src/client/session/chain.ts'
import { decodeTensor, encodeTensor } from '../../../src/wire/tensor.ts'

const COLUMNS = 2

function rows(count: number): Float32Array {
  return Float32Array.from({ length: count * COLUMNS }, (_, i) => i + 0.25)
}

function chainOf(): Chain {
  return new Chain({ hiddenSize: COLUMNS, dtype: 'f16' })
}

function hopOf(chain: Chain, peer: string, start: number, end: number): Hop {
  const link = { peer } as ClientLink
  const inputs = chain.inputs(start)
  return { link, start, end, inputs, rounding: 'x', kv: 0, named: 0, promised: 8, relay: false }
}

/** Two servers; four rows went into the first and three into the second. */
function chainOfTwo(): { chain: Chain; first: Hop; second: Hop } {
  const chain = chainOf()
  const [first, second] = [hopOf(chain, 'a', 0, 2), hopOf(chain, 'b', 2, 4)]
  chain.add([second, first])
  first.inputs.write(0, encodeTensor(rows(4), 4, COLUMNS, 'f16'))
  second.inputs.write(0, encodeTensor(rows(3), 3, COLUMNS, 'f16'))
  Object.assign(first, { kv: 4, named: 4 })
  Object.assign(second, { kv: 3, named: 2 })
  return { chain, first, second }
}

test('add() keeps hops in the order of blocks', () => {
  const { chain } = chainOfTwo()
  expect(chain.route).toEqual([
    { peer: 'a', start: 0, end: 2 },
    { peer: 'b', start: 2, end: 4 }
  ])
})

test('remove() keeps what the server was sent, for who takes its place', () => {
  const { chain, second } = chainOfTwo()
  expect([chain.remove('b'), chain.remove('nobody')]).toEqual([second, undefined])
  const other = hopOf(chain, 'c', 2, 4)
  chain.add([other])
  expect(chain.progress()).toEqual([
    { kv: 4, from: 0, length: 4, relay: false },
    { kv: 0, from: 0, length: 3, relay: false }
  ])
})

test('forgetInputs() forgets boundaries that no hop begins at', () => {
  const { chain } = chainOfTwo()
  chain.remove('b')
  chain.add([hopOf(chain, 'c', 3, 4)])
  expect(chain.forgetInputs()).toEqual([2])
  expect([chain.inputs(0).length, chain.inputs(2).length]).toEqual([4, 0])
})

test('truncate() takes back positions of servers and of boundaries', () => {
  const { chain, first, second } = chainOfTwo()
  chain.truncate(3)
  expect([first.kv, first.named, second.kv, second.named]).toEqual([3, 3, 3, 2])
  expect([chain.inputs(0).length, chain.inputs(2).length]).toEqual([3, 3])
})

test('the client carries behind a server that is not the last, once', () => {
  const { chain } = chainOfTwo()
  expect([chain.canCarry('a'), chain.canCarry('b'), chain.canCarry('x')]).toEqual([
    true,
    false,
    false
  ])
  chain.carryAfter('a')
  expect([chain.canCarry('a'), chain.hops[0]?.relay]).toEqual([false, true])
})

test('convert() keeps what went into the first block, and has the rest made anew', () => {
  const { chain } = chainOfTwo()
  chain.convert('bf16')
  const [first, second] = chain.hops
  expect([first?.kv, second?.kv, first?.inputs === chain.inputs(0)]).toEqual([0, 0, true])
  const inputs = chain.inputs(0)
  expect([inputs.dtype, inputs.length, chain.inputs(2).length]).toEqual(['bf16', 4, 0])
  expect(decodeTensor(inputs.read(0, 4))).toEqual(rows(4))
})
