// The logits of a tiny model with an adapter, in this process.
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelConfig } from '../../../src/model/types.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import { ScoreHead } from '../../../src/tune/classify/score-head.ts'
import { NEVER, testEngine, type TestEngine } from '../../blocks/support/engine-helpers.ts'
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

/** The same of a session that runs with the adapter, in steps of a few rows. */
export async function servedLogits(
  { location, ids }: Fixture,
  lora: Adapter,
  rows: number
): Promise<Float32Array> {
  using engine = testEngine()
  const model = await openModel(location)
  const { blockCount, hiddenSize: width } = model.config
  const hidden = embedTokens(model, ids)
  model.close()
  const { span } = await engine.load({ location, start: 0, end: blockCount, quant: 'f32' })
  const { adapter } = engine.engine.loadAdapter(span, { lora })
  const session = engine.engine.openSession(span, undefined, [{ adapter, weight: 1 }])
  const out = new Float32Array(hidden.length)
  for (let at = 0; at < hidden.length; at += 5 * width) {
    const piece = hidden.slice(at, at + 5 * width)
    out.set(engine.step(session, at / width, piece, width), at)
  }
  const head = await engine.engine.loadHead(location, 'f32')
  return engine.engine.head(head, out.slice(-rows * width), NEVER)
}

/** (rows, vocabSize): of the fixture's last ids. */
export async function adaptedLogits(
  fixture: Fixture,
  adapter: Adapter,
  rows: number
): Promise<Float32Array> {
  using engine = testEngine()
  const hidden = await adaptedRows(engine, fixture, adapter)
  const head = await engine.engine.loadHead(fixture.location, 'f32')
  const width = hidden.length / fixture.ids.length
  return engine.engine.head(head, hidden.slice(-rows * width), NEVER)
}

/** (classes): of the whole of the fixture's ids. */
export async function adaptedClasses(
  fixture: Fixture,
  adapter: Adapter,
  score: Float32Array
): Promise<Float32Array> {
  using engine = testEngine()
  const hidden = await adaptedRows(engine, fixture, adapter)
  const model = await openModel(fixture.location)
  const last = hidden.slice(-model.config.hiddenSize)
  const logits = new ScoreHead(model).logits(last, score)
  model.close()
  return logits
}

/** (ids, hiddenSize), behind the last block. */
async function adaptedRows(
  engine: TestEngine,
  { location, ids }: Fixture,
  adapter: Adapter
): Promise<Float32Array> {
  const model = await openModel(location)
  const { blockCount } = model.config
  const range = { start: 0, end: blockCount }
  const hidden = embedTokens(model, ids)
  model.close()
  const { span } = await engine.load({ location, ...range, quant: 'f32' })
  return engine.train({ span, range, lengths: [ids.length], hidden, adapter }).hidden
}
