import { expect, test } from 'bun:test'
import { sizesOf, type ModelSizes } from '../../../src/blocks/sizes.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { fit, spanNeed } from '../../../src/server/placement/budget.ts'
import { joinSpan, quantFit, sampleRange } from '../../../src/server/placement/plan.ts'
import { fakeInfo } from '../../support/fakes/fake-swarm.ts'
import { storiesLocation } from '../../support/models/stories.ts'

const MIB = 2 ** 20
const model = await openModel(storiesLocation)
const stories = sizesOf(model.config, model.tensors, 'f32')

function sized(blocks: number, blockBytes: number): ModelSizes {
  return {
    ...stories,
    config: { ...stories.config, blockCount: blocks },
    blockBytes: Array.from({ length: blocks }, () => blockBytes)
  }
}

/** Missing bytes where only these blocks are here. */
function onlyHere(count: number, ...here: readonly (readonly [number, number])[]): number[] {
  return Array.from({ length: count }, (_, block) =>
    here.some(([first, last]) => block >= first && block < last) ? 0 : 1
  )
}

test('quantFit() tells what join would decide by, for every quantisation', () => {
  for (const quant of ['native', 'f32', 'int8', 'int4'] as const) {
    const memoryBytes = 70 * MIB
    const sizes = sizesOf(model.config, model.tensors, quant)
    const found = quantFit(model, quant, { memoryBytes })
    expect(found).toMatchObject({ quant, ...fit(sizes, { memoryBytes }) })
    expect(found.weightBytes).toBe(
      spanNeed(sizes, { start: 0, end: Math.max(1, found.blocks) }, 4096).weightBytes
    )
  }
})

test('quantFit() calls a machine able to be alone when blocks and head fit together', () => {
  const whole = spanNeed(stories, { start: 0, end: 5 }, 4096).totalBytes
  const at = (memoryBytes: number): [number, boolean] => {
    const { blocks, alone } = quantFit(model, 'f32', { memoryBytes })
    return [blocks, alone]
  }
  expect([at(whole + stories.headBytes), at(whole + stories.headBytes - 1), at(whole - 1)]).toEqual(
    [
      [5, true],
      [5, false],
      [4, false]
    ]
  )
})

test('quantFit() has room for more tokens where keys and values are held smaller', () => {
  const memoryBytes = 70 * MIB
  const tokens = (kv?: 'f32' | 'f16' | 'int8'): number =>
    quantFit(model, 'native', { memoryBytes }, kv).sessionTokens
  expect(tokens()).toBe(tokens('f16'))
  expect(tokens('f16')).toBeGreaterThan(1.8 * tokens('f32'))
  expect(tokens('int8')).toBeGreaterThan(1.4 * tokens('f16'))
  for (const kv of ['f32', 'f16', 'int8'] as const) {
    const { sizes } = quantFit(model, 'native', { memoryBytes }, kv)
    expect(sizes).toEqual(sizesOf(model.config, model.tensors, { quant: 'native', kv }))
  }
})

test('joinSpan() goes where the servers that stay leave a gap', () => {
  const info = (start: number, end: number, draining = false): ReturnType<typeof fakeInfo> => ({
    ...fakeInfo(new Uint8Array(32).fill(start), start, end, 10, 8),
    draining
  })
  expect([
    joinSpan([info(0, 4), info(8, 10)], 10, 4),
    joinSpan([info(0, 4, true), info(4, 10)], 10, 4),
    joinSpan([], 10, 40)
  ]).toEqual([
    { start: 4, end: 8 },
    { start: 0, end: 4 },
    { start: 0, end: 10 }
  ])
})

test('sampleRange() takes of what would be served as many blocks as outgrow a cache', () => {
  const [small, large] = [sized(40, 10 * MIB), sized(40, 300 * MIB)]
  const here = onlyHere(40, [0, 40])
  expect([
    sampleRange(small, { start: 10, end: 40 }, here),
    sampleRange(small, { start: 10, end: 14 }, here),
    sampleRange(large, { start: 10, end: 40 }, here),
    sampleRange(large, { start: 10, end: 11 }, here)
  ]).toEqual([
    { start: 10, end: 23 },
    { start: 10, end: 14 },
    { start: 10, end: 12 },
    { start: 10, end: 11 }
  ])
})

test('sampleRange() would rather measure other blocks that are here than fetch', () => {
  const sizes = sized(40, 30 * MIB)
  const span = { start: 10, end: 20 }
  expect([
    sampleRange(sizes, span, onlyHere(40, [12, 15], [17, 19])),
    sampleRange(sizes, span, onlyHere(40, [12, 13], [30, 33])),
    sampleRange(sizes, span, onlyHere(40, [12, 13])),
    sampleRange(sizes, span, onlyHere(40))
  ]).toEqual([
    { start: 12, end: 15 },
    { start: 30, end: 33 },
    { start: 10, end: 12 },
    { start: 10, end: 12 }
  ])
})
