// bun scripts/examples/chat.ts [MODEL]
// Two turns of a conversation; what the first computed is not computed again.
import { AutoDistributedModelForCausalLM } from 'petals'

const name = process.argv[2] ?? 'smollm2-135m'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
const messages: { role: string; content: string }[] = []
for (const content of ['Once upon a time', 'What came next?']) {
  messages.push({ role: 'user', content })
  const options = { messages, max_new_tokens: 20, return_dict_in_generate: true } as const
  const { texts } = await model.generate(options)
  messages.push({ role: 'assistant', content: texts[0] ?? '' })
}
for (const { role, content } of messages) console.log(`${role}: ${content}`)
