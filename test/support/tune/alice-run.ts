// A training of SmolLM2 on sentences of a fixed text: the same examples, order, rates and first
// adapter for scripts/prove/tune/prove-tune.ts, which runs it beside peft, and for the test that
// keeps what peft gave.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import { LocalModel } from '../../../src/client/text/local-model.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelConfig, ModelLocation } from '../../../src/model/types.ts'
import { parseExamples } from '../../../src/tune/data/examples.ts'
import { newValues } from '../../../src/tune/parameters.ts'
import { plannedSteps, prepare, type TuningPlan } from '../../../src/tune/run-tuning.ts'
import type { PlannedStep } from '../../../src/tune/run-tuning.ts'
import { Chain } from '../../../src/tune/swarm/chain.ts'
import { Tuner } from '../../../src/tune/tuner.ts'
import { HereSwarm } from './here-swarm.ts'

export const ALICE_STEPS = 50

const text = join(import.meta.dir, '..', '..', 'fixtures', 'alice.txt')

export function alicePlan(config: ModelConfig): TuningPlan {
  const targets = adapterParts(config).map(({ target }) => target)
  return {
    shape: { method: 'lora', adapter: { rank: 8, scale: 2, targets } },
    learningRate: 5e-4,
    schedule: 'cosine',
    warmup: 0.1,
    weightDecay: 0.01,
    clip: 1,
    epochs: 4,
    batch: 4,
    maxLength: 256,
    evalSplit: 0,
    seed: 7,
    microRows: 256
  }
}

/** Conversations, completions and texts in turn, one a sentence. */
export function aliceLines(): string {
  const sentences = readFileSync(text, 'utf8')
    .split(/(?<=[.!?]["')]*)\s+/)
    .filter(Boolean)
  const lines = sentences.slice(1).map((sentence, index) => {
    const before = sentences[index] ?? ''
    switch (index % 3) {
      case 0:
        return {
          messages: [
            { role: 'user', content: `What comes after: ${before}` },
            { role: 'assistant', content: sentence }
          ]
        }
      case 1:
        return { prompt: before, completion: ` ${sentence}` }
      default:
        return { text: sentence }
    }
  })
  return lines.map((line) => JSON.stringify(line)).join('\n')
}

/** A training that is ready to take its steps, in this process. */
export interface AliceRun extends AsyncDisposable {
  readonly config: ModelConfig
  readonly plan: TuningPlan
  readonly steps: readonly PlannedStep[]
  readonly tuner: Tuner
}

export async function openAliceRun(location: ModelLocation, threads: number): Promise<AliceRun> {
  await using stack = new AsyncDisposableStack()
  const model = await openModel(location)
  const { config } = model
  const compute = stack.use(new Compute({ threads }))
  await compute.ready()
  const local = stack.use(new LocalModel({ compute, model }))
  await local.ready()
  const end = config.blockCount
  const { span } = await compute.loadSpan({ location, start: 0, end, quant: 'native' })
  const plan = alicePlan(config)
  const examples = parseExamples(aliceLines(), 'alice')
  const prepared = prepare(examples, 'alice', { model, tokenizer: local.tokenizer, plan })
  const tuner = new Tuner({
    model: local,
    chain: new Chain({
      swarm: new HereSwarm(compute, span),
      blockCount: end,
      clock: systemClock
    }),
    shape: plan.shape,
    values: newValues(config, plan.shape, plan.seed),
    microRows: plan.microRows
  })
  const steps = [...plannedSteps(plan, prepared)].slice(0, ALICE_STEPS)
  const owned = stack.move()
  return { config, plan, steps, tuner, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}
