// bun scripts/examples/tune.ts [MODEL] [FOLDER]
// Trains an adapter on a few lines and keeps it in a folder, in a loop of its own.
import { AutoDistributedModelForCausalLM, learningRateAt, stepsOf } from 'petals'

const name = process.argv[2] ?? 'stories260k'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
using training = model.train({ rank: 4, targets: ['q_proj', 'v_proj'] })
const lines = ['Sue', 'Ann', 'Mia'].map((who) => ({
  prompt: `${who} had a`,
  completion: ' red cat.'
}))
const examples = training.examples(lines.map((line) => JSON.stringify(line)).join('\n'))

const order = [...stepsOf({ count: examples.length, batch: 3, epochs: 10, seed: 0 })]
const schedule = { kind: 'cosine', learningRate: 0.02, warmup: 1, steps: order.length } as const
for (const [step, indices] of order.entries()) {
  const batch = indices.flatMap((index) => examples[index] ?? [])
  const { loss } = await training.learn(batch, { learning_rate: learningRateAt(schedule, step) })
  console.log(`step ${step + 1}: loss ${loss.toFixed(3)}`)
}
await training.save(process.argv[3] ?? `${name}-tuned`)
