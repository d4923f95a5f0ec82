import { expect, test } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { openModel } from '../../src/model/open-model.ts'
import { describeSpan } from '../../src/server/describe.ts'
import { storiesLocation } from '../support/models/stories.ts'

test('a server says by which arithmetic its rows are made', async () => {
  await using compute = new Compute({ threads: 1 })
  const model = await openModel(storiesLocation)
  const quant = 'f32'
  const span = await compute.loadSpan({ location: model.location, start: 0, end: 2, quant })
  const about = { model, quant, freeTokens: 0, version: 'test' } as const
  const info = describeSpan({ ...about, span, speed: { decode: 1, prefill: 1 } })
  expect(info).toMatchObject({ start: 0, end: 2, quant: 'f32', arithmetic: 'petals-1' })
  model.close()
})

test('a server whose keys and values are held in another way says so', async () => {
  await using compute = new Compute({ threads: 1 })
  const whole = { location: storiesLocation, start: 0, end: 2 } as const
  const arithmetics: (string | undefined)[] = []
  for (const [quant, kv] of [
    ['native', 'int8'],
    ['native', 'f16'],
    ['f32', 'f16']
  ] as const) {
    arithmetics.push((await compute.loadSpan({ ...whole, quant, kv })).arithmetic)
  }
  expect(arithmetics).toEqual(['petals-1, kv int8', 'petals-1', 'petals-1, kv f16'])
})
