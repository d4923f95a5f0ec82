import { expect, test } from 'bun:test'
import type { AppError } from '../../../src/base/errors.ts'
import { sizesOf, workingBytes, type ModelSizes } from '../../../src/blocks/sizes.ts'
import type { Model } from '../../../src/model/types.ts'
import { openModel } from '../../../src/model/open-model.ts'
import {
  blocksThatFit,
  checkFits,
  fit,
  sessionTokens,
  spanNeed
} from '../../../src/server/placement/budget.ts'
import { storiesLocation } from '../../support/models/stories.ts'

const MIB = 2 ** 20
const model = await openModel(storiesLocation)
const stories = sizesOf(model.config, model.tensors, 'f32')

/** Ten blocks, the sixth to eighth twice as large, no tables: sums can be made by hand. */
const uneven: ModelSizes = {
  ...stories,
  config: { ...stories.config, blockCount: 10, contextLength: 4096, positions: 'alibi' },
  blockBytes: [1, 1, 1, 1, 1, 2, 2, 2, 1, 1].map((size) => size * 100 * MIB),
  kvBytesPerToken: 900,
  largestMatrixBytes: 50 * MIB
}
const working = workingBytes(uneven, 4096)
/** Of 4,096 tokens, a tenth kept back. */
const kvOfBlock = 4096 * 1000

function thrown(body: () => unknown): AppError {
  try {
    body()
  } catch (error) {
    return error as AppError
  }
  throw new Error('Nothing was thrown')
}

test('spanNeed() is weights, KV of the tokens with what caches take beyond, and working memory', () => {
  expect(spanNeed(uneven, { start: 4, end: 6 }, 4096)).toEqual({
    weightBytes: 300 * MIB,
    kvBytes: 2 * kvOfBlock,
    workingBytes: working,
    totalBytes: 300 * MIB + 2 * kvOfBlock + working
  })
})

test('spanNeed() asks for no more KV than the longest session has', () => {
  const { contextLength } = stories.config
  const range = { start: 0, end: 5 }
  expect(spanNeed(stories, range, 1e9)).toEqual(spanNeed(stories, range, contextLength))
})

test('fit() takes blocks as long as the heaviest place for them fits, to the byte', () => {
  const need = (weights: number, blocks: number): number =>
    weights * MIB + blocks * kvOfBlock + working
  // The four heaviest neighbours are 5:8 with one beside them.
  const memoryBytes = need(700, 4)
  expect([
    fit(uneven, { memoryBytes }),
    fit(uneven, { memoryBytes: memoryBytes - 1 }),
    fit(uneven, { memoryBytes: need(1300, 10) }),
    fit(uneven, { memoryBytes: need(1300, 10) - 1 })
  ]).toEqual([
    { blocks: 4, bound: 'memory' },
    { blocks: 3, bound: 'memory' },
    { blocks: 10, bound: 'model' },
    { blocks: 9, bound: 'memory' }
  ])
})

test('fit() gives one block less room for sessions before it gives none', () => {
  const least = 200 * MIB + 512 * 1000 + workingBytes(uneven, 512)
  expect([fit(uneven, { memoryBytes: least }), fit(uneven, { memoryBytes: least - 1 })]).toEqual([
    { blocks: 1, bound: 'memory' },
    { blocks: 0, bound: 'memory' }
  ])
})

test('fit() minds what must come onto the disk, and says when that is what bounds', () => {
  const missing = [0, 0, 0, 0, 0, 0, 0, 10, 10, 10]
  const room = { memoryBytes: 1e12 }
  expect([
    fit(uneven, { ...room, diskBytes: 30 }, missing),
    fit(uneven, { ...room, diskBytes: 29 }, missing),
    fit(uneven, { ...room, diskBytes: 9 }, missing),
    fit(uneven, { memoryBytes: 0, diskBytes: 0 }, missing)
  ]).toEqual([
    { blocks: 10, bound: 'model' },
    { blocks: 2, bound: 'disk' },
    { blocks: 0, bound: 'disk' },
    { blocks: 0, bound: 'memory' }
  ])
})

test('sessionTokens() promises nine tenths of what work leaves', () => {
  const short = workingBytes(uneven, 512)
  expect([
    sessionTokens(uneven, 2, working + 2 * 1000 * 5000),
    sessionTokens(uneven, 2, short + 2 * 1000 * 512),
    sessionTokens(uneven, 2, short + 2 * 1000 * 100),
    sessionTokens(uneven, 2, short - 1)
  ]).toEqual([5000, 512, 100, 0])
})

test('what fit() calls one block has room for a session', () => {
  const memoryBytes = 200 * MIB + Math.ceil((512 * 900) / 0.9) + workingBytes(uneven, 512)
  expect(fit(uneven, { memoryBytes }).blocks).toBe(1)
  expect(sessionTokens(uneven, 1, memoryBytes - 200 * MIB)).toBe(512)
})

test('blocksThatFit() takes all of a small model, and refuses with every number when none fits', () => {
  expect(blocksThatFit(model, 'f32', { memoryBytes: 2 ** 30 })).toBe(model.config.blockCount)
  const error = thrown(() => blocksThatFit(model, 'f32', { memoryBytes: 60 * MIB }))
  expect({ code: error.code, retryable: error.retryable }).toEqual({
    code: 'NO_MEMORY',
    retryable: false
  })
  expect(error.message).toMatch(
    /^Not one block fits: \S+ MiB are needed, \S+ KiB for weights in f32, \S+ KiB for a session, \S+ MiB to work with; there are 60\.0 MiB$/
  )
  expect(error.hint).toBe('Give more with --memory, or free some')
})

test('blocksThatFit() says what the disk lacks when that is the reason', () => {
  const remote: Model = Object.assign(Object.create(model) as Model, {
    missingBytes: (names: readonly string[]) => names.length * MIB
  })
  const error = thrown(() => blocksThatFit(remote, 'f32', { memoryBytes: 1e12, diskBytes: MIB }))
  expect({ code: error.code, message: error.message }).toEqual({
    code: 'UNAVAILABLE',
    message: 'Not one block fits on the disk: it takes 9.0 MiB, 1.0 MiB are free'
  })
})

test('checkFits() lets what fits pass and tells what would fit instead of what does not', () => {
  const all = { start: 0, end: 5 }
  const need = spanNeed(stories, all, 512).totalBytes
  expect(() => checkFits(model, 'f32', all, need)).not.toThrow()
  const error = thrown(() => checkFits(model, 'f32', all, need - 1))
  expect(error.message).toStartWith('Blocks 0:5 do not fit: ')
  expect(error.hint).toMatch(
    /^There is room for 4 blocks in f32, 5 with --quant int4, 5 with --quant int8; or give more/
  )
})
