// node ask-llama-cpp.mjs ENTRY FOLDER NAME...   started by check-llama-cpp.ts, under node: a line of JSON each.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const [entry, folder, ...names] = process.argv.slice(2)
const { getLlama } = await import(entry)
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' })
for (const name of names) {
  const { ids, greedy } = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'))
  const model = await llama.loadModel({ modelPath: join(folder, `${name}.gguf`) })
  const context = await model.createContext({
    contextSize: 64,
    batchSize: 64,
    threads: 1,
    flashAttention: false,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32'
  })
  const sequence = context.getSequence()
  const written = []
  let probabilities
  for await (const each of sequence.evaluateWithMetadata(
    ids,
    { probabilities: true },
    { temperature: 0, yieldEogToken: true }
  )) {
    probabilities ??= [...each.probabilities]
    written.push(each.token)
    if (written.length === greedy.length) break
  }
  console.log(JSON.stringify({ name, written, probabilities }))
  await context.dispose()
  await model.dispose()
}
process.exit(0)
