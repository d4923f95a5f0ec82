// bun scripts/examples/generate.ts [MODEL]
// Continues a text, as with transformers: ids in, ids out.
import { AutoDistributedModelForCausalLM } from 'petals'

const name = process.argv[2] ?? 'stories260k'
await using model = await AutoDistributedModelForCausalLM.from_pretrained(name)
const { input_ids } = model.tokenizer('Once upon a time')
const [ids = []] = await model.generate({ input_ids, max_new_tokens: 20 })
console.log(model.tokenizer.decode(ids, { skip_special_tokens: true }))
