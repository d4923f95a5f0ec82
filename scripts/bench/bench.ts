// bun scripts/bench/bench.ts [--models smollm2-135m,random-1.1b] [--threads 1,2] [--runs 7]
//   [--tokens 128] [--prompt 512]
// One machine alone beside llama.cpp: decode and prefill, same file, same threads, runs in turn,
// medians, ratios, and how far decode is from the time of reading every weight once. random-1.1b
// has TinyLlama's shape and is written into .cache/bench on first use (0.6 GiB). On Linux, `chrt -r
// 1` in front keeps other programs from running meanwhile.
import { scriptArguments } from '../arguments.ts'
import { formatBytes } from '../../src/base/bytes.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Model } from '../../src/model/types.ts'
import { benchModel } from './parts/bench-models.ts'
import { LLAMA_CPP_VERSION, startLlamaCpp } from '../llama/llama-cpp.ts'
import { MemoryBandwidth } from './parts/memory-bandwidth.ts'
import { startOurs } from './parts/ours.ts'
import { RANDOM_MODEL } from './parts/random-model.ts'
import { median } from '../net/swarm-programs.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    models: { type: 'string', default: `smollm2-135m,${RANDOM_MODEL}` },
    threads: { type: 'string', default: '1,2' },
    runs: { type: 'string', default: '7' },
    tokens: { type: 'string', default: '128' },
    prompt: { type: 'string', default: '512' }
  }
})
const [runs, tokens] = [Number(values.runs), Number(values.tokens)]
const promptLength = Number(values.prompt)
/** Tokens in the cache before decoding. */
const STARTED = 16

/** Half the sum of the differences of two distributions: 0 is the same, 1 nothing in common. */
function distance(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] ?? 0)), 0) / 2
}

/**
 * Bytes of weights that a token needs as the file has them; of an untied embedding that is one row.
 */
function bytesPerToken(model: Model): number {
  const embedding = model.config.tiedEmbedding ? '' : 'model.embed_tokens.weight'
  const read = model.tensors.list().filter(({ name }) => name !== embedding)
  return read.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

interface Times {
  readonly prefill: number[]
  readonly decode: number[]
}

async function bench(model: Model, path: string, threads: number): Promise<void> {
  const { vocabSize, name } = model.config
  const contextSize = promptLength + tokens + 64
  const ours = await startOurs(model, threads)
  const contenders = [ours, await startLlamaCpp(path, { threads, contextSize, vocabSize })]
  using bandwidth = await MemoryBandwidth.open(threads)
  const speeds: number[] = []
  // Any ids will do: the work does not depend on them.
  const prompt = Array.from({ length: promptLength }, (_, i) => 1000 + ((i * 37) % 20_000))
  const [mine, theirs] = await Promise.all(contenders.map((one) => one.next(prompt.slice(0, 64))))
  const times: Times[] = contenders.map(() => ({ prefill: [], decode: [] }))
  // The first round only warms up.
  for (let run = -1; run < runs; run++) {
    speeds.push(await bandwidth.measure())
    for (const [i, contender] of contenders.entries()) {
      const prefill = await contender.prefill(prompt)
      const decode = await contender.decode(prompt.slice(0, STARTED), tokens)
      if (run < 0) continue
      times[i]?.prefill.push(prefill)
      times[i]?.decode.push(decode)
    }
  }
  for (const contender of contenders) await contender.close()
  const bytes = bytesPerToken(model)
  const fastest = Math.max(...speeds)
  const floorMs = (bytes / fastest) * 1000
  const gigabytes = (speed: number): string => (speed / 1e9).toFixed(1)
  console.log(
    `\n${name}, ${threads} threads: ${ours.notes}; next token ${distance(
      mine ?? new Float32Array(0),
      theirs ?? new Float32Array(0)
    ).toFixed(3)} apart from llama.cpp's\n` +
      `  reads ${gigabytes(fastest)} GB/s at best (median ${gigabytes(median(speeds))}); ` +
      `${formatBytes(bytes)} a token: ${(1000 / floorMs).toFixed(1)} tokens/s at most`
  )
  report('decode', tokens, times, floorMs)
  report('prefill', promptLength, times)
}

function report(kind: keyof Times, count: number, times: readonly Times[], floorMs?: number): void {
  const rates = times.map((list) => (count / median(list[kind])) * 1000)
  const [ours = 0, theirs = 0] = rates
  const ratios = times[0]?.[kind].map((value, i) => (times[1]?.[kind][i] ?? 0) / value) ?? []
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
  const shares = rates.map((rate) => `${(((rate * (floorMs ?? 0)) / 1000) * 100).toFixed(0)} %`)
  console.log(
    `  ${kind.padEnd(8)} ${ours.toFixed(1).padStart(7)} tokens/s, llama.cpp ${theirs.toFixed(1)}: ` +
      `ratio ${(ours / theirs).toFixed(2)} (single runs ${spread})` +
      (floorMs === undefined ? '' : `; of what reading allows ${shares.join(', llama.cpp ')}`)
  )
}

console.log(`medians of ${runs} runs in turn, llama.cpp by node-llama-cpp ${LLAMA_CPP_VERSION}`)
for (const name of values.models.split(',')) {
  const { location, path } = await benchModel(name)
  const model = await openModel(location)
  for (const threads of values.threads.split(',')) await bench(model, path, Number(threads))
  model.close()
}
