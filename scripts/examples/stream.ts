// bun scripts/examples/stream.ts [MODEL]
// Prints an answer as it is made, then what it took.
import { AutoDistributedModelForCausalLM } from 'petals'

const name = process.argv[2] ?? 'stories260k'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
const answer = model.stream({ text: 'Lily and Tom', max_new_tokens: 20 })
for (let step = await answer.next(); ; step = await answer.next()) {
  if (step.done) {
    console.log(`\n${step.value.newTokens} tokens by ${step.value.route.length} servers`)
    break
  }
  process.stdout.write(step.value)
}
