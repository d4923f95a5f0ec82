// bun scripts/examples/session.ts [MODEL]
// Steps a session by hand, always taking the likeliest id, and goes back to try another word.
import { AutoDistributedModelForCausalLM } from 'petals'

const name = process.argv[2] ?? 'stories260k'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
await using session = model.inference_session({ max_length: 64 })
const likeliest = (row: Float32Array): number => row.indexOf(row.reduce((a, b) => Math.max(a, b)))

for (const word of [' happy', ' sad']) {
  session.rollback(0)
  let rows = await session.step(model.tokenizer.encode(`The dog was very${word}`))
  for (let i = 0; i < 12; i++) {
    rows = await session.step([likeliest(rows.at(-1) ?? new Float32Array(1))])
  }
  console.log(model.tokenizer.decode(session.ids, { skip_special_tokens: true }))
}
