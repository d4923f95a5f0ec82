import { expect, test } from 'bun:test'
import { chooseSpan, coverage } from '../../../src/server/placement/placement.ts'

test('coverage() shares a throughput over its blocks', () => {
  expect([...coverage([{ start: 1, end: 3, throughput: 10 }], 4)]).toEqual([0, 5, 5, 0])
})

test('chooseSpan() fills the gap first', () => {
  const spans = [
    { start: 0, end: 10, throughput: 5 },
    { start: 20, end: 30, throughput: 5 }
  ]
  expect(chooseSpan(spans, 30, 10)).toEqual({ start: 10, end: 20 })
})

test('chooseSpan() helps the weakest blocks when there is no gap', () => {
  const spans = [
    { start: 0, end: 15, throughput: 100 },
    { start: 15, end: 30, throughput: 10 }
  ]
  expect(chooseSpan(spans, 30, 15)).toEqual({ start: 15, end: 30 })
})

test('chooseSpan() takes everything when the machine can hold it', () => {
  expect(chooseSpan([], 30, 64)).toEqual({ start: 0, end: 30 })
})
