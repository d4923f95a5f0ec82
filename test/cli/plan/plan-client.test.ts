// A client's own work, measured where its tensors are here and where they are not.
import { expect, test } from 'bun:test'
import { noMemory } from '../../../src/base/errors.ts'
import { startClient } from '../../../src/cli/plan/plan-client.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'
import { storiesLocation } from '../../support/models/stories.ts'

const model = await openModel(storiesLocation)
const { hiddenSize } = model.config

class CountingCompute extends FakeCompute {
  heads = 0
  loaded = 0
  override async loadHead(): Promise<number> {
    this.loaded++
    return 1
  }
  override async unloadHead(): Promise<void> {
    this.loaded--
  }
  override async head(head: number, hidden: Float32Array): Promise<Float32Array> {
    this.heads++
    return super.head(head, hidden)
  }
}

class FullCompute extends CountingCompute {
  override loadHead(): Promise<number> {
    return Promise.reject(noMemory('Full'))
  }
}

async function work(compute: CountingCompute, of: Model): Promise<unknown> {
  await using stack = new AsyncDisposableStack()
  const own = await startClient(stack, { compute, model: of, quant: 'native', dtype: 'f32' })
  // More than the context: positions begin again.
  for (let i = 0; i < model.config.contextLength + 2; i++) await own.between()
  return [own.times()?.headMeasured, own.times(5)?.headMeasured, own.times(5)?.times.headMs === 5]
}

test('a client that has its tensors measures the head, and lets it go', async () => {
  const compute = new CountingCompute(hiddenSize)
  expect(await work(compute, model)).toEqual([true, true, false])
  expect([compute.heads, compute.loaded]).toEqual([model.config.contextLength + 2, 0])
})

test('a client without its tensors, or without room for the head, takes it as it is reckoned', async () => {
  const remote: Model = Object.assign(Object.create(model) as Model, { missingBytes: () => 1 })
  const [missing, full] = [new CountingCompute(hiddenSize), new FullCompute(hiddenSize)]
  const reckoned = [undefined, false, true]
  expect(await work(missing, remote)).toEqual(reckoned)
  expect(await work(full, model)).toEqual(reckoned)
  expect([missing.heads, full.heads]).toEqual([0, 0])
})
