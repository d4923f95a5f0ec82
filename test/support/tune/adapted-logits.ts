// The logits of a tiny model with an adapter, in this process.
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelConfig } from '../../../src/model/types.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import { NEVER, testEngine } from '../../blocks/support/engine-helpers.ts'
import { readFixture, type Fixture } from '../../families/support/fixture.ts'
import type { Adapter } from '../../../src/tune/adapter/peft.ts'

/** A family's fixture and what the model is. */
export async function openFixture(
  name: string
): Promise<{ fixture: Fixture; config: ModelConfig }> {
  const fixture = readFixture(name)
  const model = await openModel(fixture.location)
  model.close()
  return { fixture, config: model.config }
}

/** (rows, vocabSize): of the fixture's last ids. */
export async function adaptedLogits(
  { location, ids }: Fixture,
  adapter: Adapter,
  rows: number
): Promise<Float32Array> {
  using engine = testEngine()
  const model = await openModel(location)
  const { blockCount, hiddenSize } = model.config
  const range = { start: 0, end: blockCount }
  const hidden = embedTokens(model, ids)
  model.close()
  const { span } = await engine.load({ location, ...range, quant: 'f32' })
  const out = engine.train({ span, range, lengths: [ids.length], hidden, adapter })
  const head = await engine.engine.loadHead(location, 'f32')
  return engine.engine.head(head, out.hidden.slice(-rows * hiddenSize), NEVER)
}
