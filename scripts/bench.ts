// bun scripts/bench.ts [--model smollm2-135m] [--threads 2] [--runs 7] [--tokens 128] [--prompt 512]
// One machine alone beside llama.cpp: decode and prefill, same file, same threads, runs in turn, medians and
// ratios. node-llama-cpp is fetched into .cache/llama on first use; it is no part of the product.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { Compute } from '../src/blocks/compute.ts'
import { argmax } from '../src/client/sampler.ts'
import { embedTokens } from '../src/model/embed.ts'
import { openModel } from '../src/model/open-model.ts'
import { resolveModel } from '../src/model/resolve.ts'

const VERSION = '3.21.1'
const cache = join(import.meta.dir, '..', '.cache')
const { values } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '7' },
    tokens: { type: 'string', default: '128' },
    prompt: { type: 'string', default: '512' }
  }
})
const [threads, runs] = [Number(values.threads), Number(values.runs)]
const [tokens, promptLength] = [Number(values.tokens), Number(values.prompt)]

/** Something that can be timed at both kinds of work; ms each. */
interface Contender {
  prefill(ids: readonly number[]): Promise<number>
  decode(ids: readonly number[], count: number): Promise<number>
  close(): Promise<void>
}

function installLlamaCpp(): string {
  const folder = join(cache, 'llama')
  const entry = join(folder, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')
  if (existsSync(entry)) return entry
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const packages = ['node-llama-cpp', `@node-llama-cpp/${process.platform}-${process.arch}`]
  const result = Bun.spawnSync(
    [
      'npm',
      'install',
      '--omit=optional',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      ...packages.map((name) => `${name}@${VERSION}`)
    ],
    { cwd: folder, stdout: 'ignore', stderr: 'inherit' }
  )
  if (result.exitCode !== 0) throw new Error('node-llama-cpp could not be installed')
  return entry
}

async function startLlamaCpp(path: string): Promise<Contender> {
  const script = join(import.meta.dir, 'bench-llama-cpp.mjs')
  const room = String(promptLength + tokens + 64)
  // Our worker steps back behind other programs; on a busy machine only the same is comparable.
  const nice = process.platform === 'linux' ? ['nice', '-n', '10'] : []
  const command = ['node', script, installLlamaCpp(), path, values.threads, room]
  const child = Bun.spawn([...nice, ...command], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit'
  })
  const lines = linesOf(child.stdout)
  const answer = async (): Promise<{ ms: number }> => {
    const { value, done } = await lines.next()
    if (done) throw new Error('llama.cpp has ended')
    return JSON.parse(value) as { ms: number }
  }
  await answer()
  const ask = async (question: object): Promise<number> => {
    child.stdin.write(`${JSON.stringify(question)}\n`)
    child.stdin.flush()
    return (await answer()).ms
  }
  return {
    prefill: (ids) => ask({ prefill: ids }),
    decode: (ids, count) => ask({ ids, decode: count }),
    async close() {
      child.stdin.end()
      await child.exited
    }
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}

/** Ours as a client alone runs it: embedding, worker, head, argmax. */
async function startOurs(): Promise<Contender> {
  const model = await openModel(location)
  const compute = new Compute({ threads })
  const { span, notes } = await compute.loadSpan({
    location,
    first: 0,
    last: model.config.blockCount,
    quant: 'native'
  })
  const head = await compute.loadHead(location, 'native')
  const session = await compute.openSession(span)
  console.log(`${model.config.name}: ${notes.join('; ')}`)
  const width = model.config.hiddenSize
  const feed = (ids: readonly number[], start: number): Promise<Float32Array> =>
    compute
      .step({ session, start, count: ids.length, hidden: embedTokens(model, ids) })
      .then(({ hidden }) => hidden)
  const next = async (hidden: Float32Array): Promise<number> => {
    return argmax(await compute.head(head, hidden.slice(-width)))
  }
  return {
    async prefill(ids) {
      const began = systemClock.now()
      await feed(ids, 0)
      return systemClock.now() - began
    },
    async decode(ids, count) {
      let id = await next(await feed(ids, 0))
      const began = systemClock.now()
      for (let i = 0; i < count; i++) id = await next(await feed([id], ids.length + i))
      return systemClock.now() - began
    },
    async close() {
      await compute.close()
      model.close()
    }
  }
}

function median(list: readonly number[]): number {
  const sorted = list.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

const location = await resolveModel(values.model, { cacheDir: join(cache, 'petals') })
const [path] = location.paths
if (location.kind !== 'gguf' || path === undefined) throw new Error('llama.cpp wants a GGUF file')
const contenders = [await startOurs(), await startLlamaCpp(path)]
// Any ids do: work does not depend on which.
const prompt = Array.from({ length: promptLength }, (_, i) => 1000 + ((i * 37) % 20_000))
const times = contenders.map(() => ({ prefill: [] as number[], decode: [] as number[] }))
for (let run = -1; run < runs; run++) {
  for (const [i, contender] of contenders.entries()) {
    const prefill = await contender.prefill(prompt)
    const decode = await contender.decode(prompt.slice(0, 16), tokens)
    // The first round only warms up.
    if (run >= 0) times[i]?.prefill.push(prefill)
    if (run >= 0) times[i]?.decode.push(decode)
  }
}
for (const contender of contenders) await contender.close()
console.log(
  `${threads} threads, medians of ${runs} runs in turn, llama.cpp by node-llama-cpp ${VERSION}`
)
for (const [kind, count] of [
  ['decode', tokens],
  ['prefill', promptLength]
] as const) {
  const [ours = 0, theirs = 0] = times.map((list) => (count / median(list[kind])) * 1000)
  const ratios = times[0]?.[kind].map((value, i) => (times[1]?.[kind][i] ?? 0) / value) ?? []
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
  console.log(
    `${kind.padEnd(8)} ${ours.toFixed(1).padStart(7)} tokens/s, llama.cpp ${theirs.toFixed(1)}: ` +
      `ratio ${(ours / theirs).toFixed(2)} (single runs ${spread})`
  )
}
