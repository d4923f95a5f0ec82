// bun scripts/bench/bench-attention.ts [--contexts 8000,32000] [--threads 2] [--tokens 16]
//   [--runs 3]
// What a token costs behind a long context, beside llama.cpp: two blocks of the 1.1B shape, ms a
// token and block more than behind 16 tokens, which is what reading the context takes; and tokens a
// second of the context itself, as a prompt. Both keep keys and values as float16. Medians of runs
// in turn.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { openModel } from '../../src/model/open-model.ts'
import { LLAMA_CPP_VERSION, startLlamaCpp } from '../llama/llama-cpp.ts'
import { median } from '../net/swarm-programs.ts'
import { startOurs } from './parts/ours.ts'
import { randomModelFile } from './parts/random-model.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    contexts: { type: 'string', default: '8000,32000' },
    threads: { type: 'string', default: '2' },
    tokens: { type: 'string', default: '16' },
    runs: { type: 'string', default: '3' }
  }
})
const contexts = values.contexts.split(',').map(Number)
const [threads, tokens, runs] = [values.threads, values.tokens, values.runs].map(Number) as [
  number,
  number,
  number
]
const BLOCKS = 2
/** Tokens behind which a step costs nothing for its context. */
const NONE = 16

const path = randomModelFile(join(import.meta.dir, '..', '..', '.cache', 'bench'), 'random-long')
const model = await openModel({ kind: 'gguf', paths: [path] })
const { vocabSize } = model.config
const contenders = [
  await startOurs(model, threads),
  await startLlamaCpp(path, { threads, contextSize: model.config.contextLength, vocabSize })
]
console.log(
  `medians of ${runs} runs in turn, ${threads} threads, llama.cpp by node-llama-cpp ${LLAMA_CPP_VERSION}`
)
for (const context of contexts) {
  // Any ids will do: the work does not depend on them.
  const prompt = Array.from({ length: context }, (_, i) => 1000 + ((i * 37) % 20_000))
  const times = contenders.map(() => ({ token: [] as number[], prompt: [] as number[] }))
  for (let run = 0; run < runs; run++) {
    for (const [i, contender] of contenders.entries()) {
      const began = performance.now()
      const long = await contender.decode(prompt, tokens)
      const whole = performance.now() - began
      const short = await contender.decode(prompt.slice(0, NONE), tokens)
      times[i]?.token.push((long - short) / tokens / BLOCKS)
      times[i]?.prompt.push(whole - long)
    }
  }
  const [ours, theirs] = times.map(({ token }) => median(token))
  const [mine, other] = times.map((each) => (context / median(each.prompt)) * 1000)
  console.log(
    `${context} tokens: ${ours?.toFixed(3)} ms a token and block, llama.cpp ${theirs?.toFixed(3)}: ` +
      `${((theirs ?? 0) / (ours ?? 1)).toFixed(2)} times as fast; as a prompt ${mine?.toFixed(0)} ` +
      `tokens/s, llama.cpp ${other?.toFixed(0)}: ${((mine ?? 0) / (other ?? 1)).toFixed(2)}`
  )
}
for (const contender of contenders) await contender.close()
model.close()
