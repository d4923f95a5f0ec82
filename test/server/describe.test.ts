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
