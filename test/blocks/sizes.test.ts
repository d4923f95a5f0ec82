// What is foretold of a model's sizes against what the engine really writes and reserves.
import type { BlockSpan } from '../../src/base/block-span.ts'
import { expect, setDefaultTimeout, test } from 'bun:test'
import { sizesOf, spanBytes, workingBytes } from '../../src/blocks/sizes.ts'
import { spanParts } from '../../src/blocks/weights/span-parts.ts'
import { planSpan } from '../../src/blocks/span-plan.ts'
import { packedBytes, packedNumber } from '../../src/blocks/quantise/packed-form.ts'
import type { Lowering, Quant } from '../../src/blocks/types.ts'
import { WeightStore } from '../../src/blocks/weights/weight-store.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { rowBytes, TYPE_FACTS } from '../../src/model/formats/tensor-types.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Family, TensorType } from '../../src/model/types.ts'
import { randomModel, writeModel } from '../families/support/random-model.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { testEngine } from './support/engine-helpers.ts'
import { writeRandomLlama } from './support/random-llama.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const QUANTS: readonly Quant[] = ['native', 'f32', 'f16', 'int8', 'int4']
const FAMILIES: readonly Family[] = ['llama', 'qwen3', 'qwen3moe', 'mixtral', 'gemma3', 'gpt2']
const LOWERINGS: readonly Lowering[] = ['kernels', 'onnx']
const ALL = LOWERINGS.flatMap((lowering) => QUANTS.map((quant) => [quant, lowering] as const))
const kernels = loadKernels()

/**
 * Bytes of a span in the store, alignment included, and how many tensors they are.
 */
function written(
  model: Awaited<ReturnType<typeof openModel>>,
  range: BlockSpan & { quant: Quant; lowering: Lowering }
): { bytes: number; tensors: number } {
  const plan = planSpan(model.config, model.tensors, range)
  using store = new WeightStore({ mapped: true })
  for (const part of spanParts(model, plan, range, kernels)) for (const _ of store.load(part));
  return { bytes: store.sizeBytes, tensors: store.tensors.size }
}

test('spanBytes() is what the engine writes, but for alignment, in every family and form', async () => {
  const seen: string[] = []
  for (const family of FAMILIES) {
    await using folder = await tempFolder()
    const model = await openModel(writeModel(randomModel(family, 3), folder.path))
    for (const [quant, lowering] of ALL) {
      const sizes = sizesOf(model.config, model.tensors, quant, lowering)
      for (const [start, end] of [
        [0, 1],
        [1, 2],
        [0, model.config.blockCount]
      ] as const) {
        const { bytes, tensors } = written(model, { start, end, quant, lowering })
        const over = bytes - spanBytes(sizes, { start, end })
        if (over < 0 || over > tensors * 64)
          seen.push(`${family} ${quant} ${lowering} ${start}:${end} ${over}`)
      }
    }
    model.close()
  }
  expect(seen).toEqual([])
})

test('spanBytes() of a model large enough for alignment not to count is within 1 %', async () => {
  await using folder = await tempFolder()
  const types: TensorType[] = ['F16', 'Q4_0', 'Q4_1', 'Q8_0']
  for (const type of types) {
    const shape = { hidden: 256, blocks: 2, heads: 8, kvHeads: 2, headDim: 32, ffn: 512, type }
    const model = await openModel(await writeRandomLlama(folder, { ...shape, context: 256 }))
    for (const [quant, lowering] of ALL) {
      const sizes = sizesOf(model.config, model.tensors, quant, lowering)
      const { bytes } = written(model, { start: 0, end: 2, quant, lowering })
      const ratio = spanBytes(sizes, { start: 0, end: 2 }) / bytes
      expect({ type, quant, lowering, close: ratio > 0.99 && ratio <= 1 }).toEqual({
        type,
        quant,
        lowering,
        close: true
      })
    }
    model.close()
  }
})

test('sizesOf() foretells weights, KV and head of what is loaded to the byte', async () => {
  const model = await openModel(storiesLocation)
  for (const lowering of LOWERINGS) {
    using test = testEngine({ onnx: lowering === 'onnx' })
    const { engine } = test
    for (const quant of QUANTS) {
      const sizes = sizesOf(model.config, model.tensors, quant, lowering)
      const before = engine.stats().weightBytes
      const span = await test.load({ location: storiesLocation, start: 1, end: 4, quant })
      expect({
        weightBytes: spanBytes(sizes, { start: 1, end: 4 }),
        kvBytesPerToken: sizes.kvBytesPerToken * 3
      }).toEqual({ weightBytes: span.weightBytes, kvBytesPerToken: span.kvBytesPerToken })
      expect(engine.stats().weightBytes - before).toBe(span.weightBytes)
      engine.unloadSpan(span.span)
      const head = await engine.loadHead(storiesLocation, quant === 'f32' ? 'f32' : 'native')
      expect(engine.stats().weightBytes - before).toBe(sizes.headBytes)
      engine.unloadHead(head)
    }
  }
  model.close()
})

test('sizesOf() foretells what each way of holding keys and values takes', async () => {
  const model = await openModel(storiesLocation)
  using test = testEngine()
  const foretold: Record<string, number> = {}
  for (const kv of ['f16', 'f32', 'int8'] as const) {
    const holding = { quant: 'native', kv } as const
    const { kvBytesPerToken } = await test.load({
      location: storiesLocation,
      start: 0,
      end: 1,
      ...holding
    })
    const sizes = sizesOf(model.config, model.tensors, holding)
    expect({ kv, bytes: sizes.kvBytesPerToken }).toEqual({ kv, bytes: kvBytesPerToken })
    foretold[kv] = sizes.kvBytesPerToken
  }
  // 4 heads of 8 keys and 16 values (8 are used) each; int8 has two scales beside them.
  expect(foretold).toEqual({ f16: 4 * 24 * 2, f32: 4 * 24 * 4, int8: 4 * (24 + 8) })
  model.close()
})

test('packedBytes() is what the kernels say, and at most 1.05 of the file in every form', () => {
  const types = [...(Object.keys(TYPE_FACTS) as TensorType[]), 'I8', 'I4'] as const
  for (const type of types) {
    for (const [rows, columns] of [
      [16, 256],
      [1, 512],
      [100, 768],
      [2048, 2048],
      [49_152, 576 + 192]
    ] as const) {
      const bytes = packedBytes(type, rows, columns)
      expect({ type, rows, columns, bytes }).toEqual({
        type,
        rows,
        columns,
        bytes: kernels.packedBytes(packedNumber(type), rows, columns)
      })
      if (type === 'I8' || type === 'I4' || rows < 2048) continue
      expect(bytes / (rows * rowBytes(type, columns))).toBeWithin(1, 1.05)
    }
  }
})

test('workingBytes() grows with the context and with the widest matrix', async () => {
  const model = await openModel(storiesLocation)
  const sizes = sizesOf(model.config, model.tensors, 'f32')
  const large = { ...sizes, largestMatrixBytes: 2 ** 30 }
  const long = { ...sizes, config: { ...sizes.config, contextLength: 1e6, headCount: 64 } }
  expect([
    workingBytes(sizes, 512) < workingBytes(long, 4096),
    workingBytes(long, 4096) < workingBytes(long, 100_000),
    workingBytes(large, 512) - workingBytes(sizes, 0) > 0.99 * 2 ** 30
  ]).toEqual([true, true, true])
  model.close()
})
