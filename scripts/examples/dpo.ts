// bun scripts/examples/dpo.ts [MODEL]
// A loss of one's own: direct preference optimisation. The model learns to prefer one answer to
// another, measured against itself before the training.
import { AutoDistributedModelForCausalLM, type TrainingPass } from 'petals'

const name = process.argv[2] ?? 'stories260k'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
using training = model.train({ rank: 4 })
const BETA = 0.5
const prompts = ['Tom saw a', 'The girl had a', 'One day, a']
const ids = (text: string): number[] => model.tokenizer.encode(text)
// Of each prompt the preferred answer, then the other one.
const batch = prompts.flatMap((prompt) => [ids(`${prompt} big dog.`), ids(`${prompt} little cat.`)])

/** log of each text's probability: the prompt's own part is the same in both. */
async function likelihoods(pass: TrainingPass): Promise<number[]> {
  const losses = await pass.losses()
  return losses.map(({ data }) => -data.reduce((sum, loss) => sum + loss, 0))
}

const reference = await likelihoods(await training.forward(batch, { frozen: true }))
for (let step = 1; step <= 8; step++) {
  const pass = await training.forward(batch)
  const gain = (await likelihoods(pass)).map((own, i) => own - (reference[i] ?? 0))
  // loss = -log sigmoid(BETA * (gain of the preferred - gain of the other))
  const margins = prompts.map((_, i) => BETA * ((gain[2 * i] ?? 0) - (gain[2 * i + 1] ?? 0)))
  const loss = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-margin)), 0)
  const slopes = margins.map((margin) => BETA / (1 + Math.exp(margin)) / prompts.length)
  await pass.backward({ losses: slopes.flatMap((slope) => [slope, -slope]) })
  training.step({ learning_rate: 0.001 })
  console.log(`step ${step}: loss ${(loss / prompts.length).toFixed(4)}`)
}
