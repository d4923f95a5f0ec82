// What is foretold of a model's sizes against what the engine really writes and reserves.
import type { BlockSpan } from '../../src/base/block-span.ts'
import { expect, setDefaultTimeout, test } from 'bun:test'
import { createOnnx } from '../../src/blocks/create-backend.ts'
import { onnxBackend } from '../../src/blocks/onnx/onnx-backend.ts'
import { Engine } from '../../src/blocks/engine/engine.ts'
import { sizesOf, spanBytes, workingBytes } from '../../src/blocks/sizes.ts'
import { spanParts } from '../../src/blocks/weights/span-parts.ts'
import { matricesOf, planSpan, sumBytes } from '../../src/blocks/span-plan.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { WeightStore } from '../../src/blocks/weights/weight-store.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Family, TensorType } from '../../src/model/types.ts'
import { randomModel, writeModel } from '../families/support/random-model.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { writeRandomLlama } from './support/random-llama.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const QUANTS: readonly Quant[] = ['native', 'f32', 'f16', 'int8', 'int4']
const FAMILIES: readonly Family[] = ['llama', 'qwen3', 'qwen3moe', 'mixtral', 'gemma3', 'gpt2']
const backend = createOnnx({
  threads: 1,
  device: 'cpu',
  deviceId: 0,
  memoryBytes: 2 ** 32,
  libraryDir: undefined,
  scratchDir: undefined
})

/**
 * Bytes of a span in the store, alignment included, and of what is kept beside; how many tensors
 * they are.
 */
function written(
  model: Awaited<ReturnType<typeof openModel>>,
  range: BlockSpan & { quant: Quant }
): { bytes: number; tensors: number } {
  const plan = planSpan(model.config, model.tensors, range)
  using store = new WeightStore({ mapped: true })
  for (const part of spanParts(model, plan, range)) for (const _ of store.load(part));
  const sums = plan.blocks.flatMap(matricesOf).reduce((sum, each) => sum + sumBytes(each), 0)
  return { bytes: store.sizeBytes + sums, tensors: store.tensors.size }
}

test('spanBytes() is what the engine writes, but for alignment, in every family and form', async () => {
  const seen: string[] = []
  for (const family of FAMILIES) {
    await using folder = await tempFolder()
    const model = await openModel(writeModel(randomModel(family, 3), folder.path))
    for (const quant of QUANTS) {
      const sizes = sizesOf(model.config, model.tensors, quant)
      for (const [start, end] of [
        [0, 1],
        [1, 2],
        [0, model.config.blockCount]
      ] as const) {
        const { bytes, tensors } = written(model, { start, end, quant })
        const over = bytes - spanBytes(sizes, { start, end })
        if (over < 0 || over > tensors * 64) seen.push(`${family} ${quant} ${start}:${end} ${over}`)
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
    for (const quant of QUANTS) {
      const sizes = sizesOf(model.config, model.tensors, quant)
      const { bytes } = written(model, { start: 0, end: 2, quant })
      const ratio = spanBytes(sizes, { start: 0, end: 2 }) / bytes
      expect({ type, quant, close: ratio > 0.99 && ratio <= 1 }).toEqual({
        type,
        quant,
        close: true
      })
    }
    model.close()
  }
})

test('sizesOf() foretells weights, KV and head of what is loaded to the byte', async () => {
  const model = await openModel(storiesLocation)
  using engine = new Engine(onnxBackend(backend), 2 ** 30)
  for (const quant of QUANTS) {
    const sizes = sizesOf(model.config, model.tensors, quant)
    const before = engine.stats().weightBytes
    const span = await engine.loadSpan(
      { location: storiesLocation, start: 1, end: 4, quant },
      async () => {}
    )
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
  model.close()
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
