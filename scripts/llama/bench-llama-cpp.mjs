// node bench-llama-cpp.mjs ENTRY MODEL THREADS CONTEXT   started by llama-cpp.ts, under node: node-llama-cpp beside us.
// Reads lines of JSON: { prefill: ids }, { decode: count, ids } or { next: true, ids }, and answers each with
// { ms }, the last also with { probabilities } of the token behind the ids.
import { createInterface } from 'node:readline'

const [entry, modelPath, threads, contextSize] = process.argv.slice(2)
const { getLlama } = await import(entry)
const llama = await getLlama({
  gpu: false,
  build: 'never',
  maxThreads: Number(threads),
  logLevel: 'error'
})
const model = await llama.loadModel({ modelPath })
const context = await model.createContext({
  contextSize: Number(contextSize),
  batchSize: 512,
  threads: Number(threads),
  flashAttention: true
})
const sequence = context.getSequence()
console.log(JSON.stringify({ ready: true }))
for await (const line of createInterface({ input: process.stdin })) {
  const { prefill, decode, next, ids } = JSON.parse(line)
  await sequence.clearHistory()
  let began = performance.now()
  let probabilities
  if (next) {
    const wanted = { probabilities: true }
    for await (const one of sequence.evaluateWithMetadata(ids, wanted, { temperature: 0 })) {
      probabilities = [...one.probabilities]
      break
    }
  } else if (prefill) {
    await sequence.evaluateWithoutGeneratingNewTokens(prefill)
  } else {
    let count = 0
    // The first token comes with the prompt; the clock starts behind it.
    for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
      if (token !== undefined && count++ === 0) began = performance.now()
      if (count > decode) break
    }
  }
  console.log(JSON.stringify({ ms: performance.now() - began, probabilities }))
}
process.exit(0)
