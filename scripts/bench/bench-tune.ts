// bun scripts/bench/bench-tune.ts --python VENV/bin/python [--model smollm2-135m] [--threads 2]
//   [--steps 4] [--batch 8] [--length 128] [--rows 512] [--rank 8]
// Tokens a second of LoRA on all of a model's matrices, blocks of this process beside
// `transformers` and `peft` on torch's CPU: steps in turn in one run, the same weights (as floats
// there), the same examples and as many threads. VENV has torch, transformers, peft. Nothing is
// asserted; losses are printed because both should come to the same.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/random.ts'
import { Compute } from '../../src/blocks/compute.ts'
import { adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { LocalModel } from '../../src/client/text/local-model.ts'
import { dequantise } from '../../src/model/formats/dequantise.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'
import type { Model } from '../../src/model/types.ts'
import { safetensors, type FloatTensor } from '../../src/tune/adapter/safetensors-file.ts'
import type { TokenExample } from '../../src/tune/data/tokens.ts'
import { newValues, type TuneShape } from '../../src/tune/parameters.ts'
import { Chain, type TrainSwarm } from '../../src/tune/swarm/chain.ts'
import { Tuner } from '../../src/tune/tuner.ts'
import { scriptArguments } from '../arguments.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    python: { type: 'string', default: 'python3' },
    model: { type: 'string', default: 'smollm2-135m' },
    threads: { type: 'string', default: '2' },
    steps: { type: 'string', default: '4' },
    batch: { type: 'string', default: '8' },
    length: { type: 'string', default: '128' },
    rows: { type: 'string', default: '512' },
    rank: { type: 'string', default: '8' }
  }
})
const number = (text: string): number => Number(text)
const [threads, steps, batch] = [values.threads, values.steps, values.batch].map(number) as [
  number,
  number,
  number
]
const [length, rows, rank] = [values.length, values.rows, values.rank].map(number) as [
  number,
  number,
  number
]
const SCALE = 2
const LEARNING_RATE = 2e-4

const cacheDir = join(import.meta.dir, '..', '..', '.cache', 'petals')
const location = await resolveModel(values.model, { cacheDir })
const model = await openModel(location)
const { config } = model
const targets = adapterParts(config).map(({ target }) => target)
const random = seededRandom(1)

/** Words of an invented language: a few tokens, so that there is something to learn. */
const words = Array.from({ length: 200 }, () => random.below(config.vocabSize))
const exampleOf = (line: number): TokenExample => {
  const ids = Array.from({ length: length + 1 }, () => words[random.below(words.length)] ?? 0)
  return { line, ids, learnt: ids.map((_, i) => i > 0) }
}
const stepsOf = Array.from({ length: steps + 1 }, () =>
  Array.from({ length: batch }, (_, i) => exampleOf(i))
)

const folder = mkdtempSync(join(tmpdir(), 'petals-bench-tune-'))
await using stack = new AsyncDisposableStack()
stack.defer(() => rmSync(folder, { recursive: true, force: true }))
await writeForTorch(model, folder)
const torch = await startTorch()

const compute = new Compute({ threads })
await compute.ready()
stack.defer(() => compute.close())
const { span } = await compute.loadSpan({
  location,
  start: 0,
  end: config.blockCount,
  quant: 'native'
})
const local = new LocalModel({ compute, model })
await local.ready()
const tuner = ownTuner()

const [ours, theirs]: [StepCost[], StepCost[]] = [[], []]
console.log(
  `${config.name}, ${threads} threads, ${batch} examples of ${length} tokens, LoRA of rank ${rank}`
)
for (const [index, examples] of stepsOf.entries()) {
  const mine = await ownStep(examples)
  const other = await torch.step(examples)
  // The first one packs, allocates and compiles.
  if (index > 0) {
    ours.push(mine)
    theirs.push(other)
  }
  console.log(`step ${index}: ${costOf(mine)}; peft ${costOf(other)}`)
}
for (const what of ['seconds', 'cpuSeconds'] as const) {
  const [own, peft] = [ours, theirs].map((costs) => median(costs.map((cost) => cost[what])))
  if (own === undefined || peft === undefined) continue
  const unit = what === 'seconds' ? 'tokens/s' : 'tokens/CPU s'
  console.log(`${rate(own)} ${unit}, peft ${rate(peft)}: ${(peft / own).toFixed(2)}`)
}
torch.stop()

function ownTuner(): Tuner {
  const shape: TuneShape = { method: 'lora', adapter: { rank, scale: SCALE, targets } }
  const swarm: TrainSwarm = {
    plan: async (range) => [{ ...range, peer: 'here' }] as never,
    call({ hop, step, hidden, gradient }, signal) {
      const { adapter, lengths } = step
      const range = { start: hop.start, end: hop.end }
      const values = adapter && { shape: adapter.shape, values: adapter.values.slice() }
      return compute.train(
        { span, range, lengths, hidden: hidden.slice(), gradient, adapter: values },
        signal
      )
    },
    failed() {}
  }
  const chain = new Chain({ swarm, blockCount: config.blockCount, clock: systemClock })
  return new Tuner({
    model: local,
    chain,
    shape,
    values: newValues(config, shape, 1),
    microRows: rows
  })
}

async function ownStep(examples: readonly TokenExample[]): Promise<StepCost> {
  const [began, cpu] = [systemClock.now(), process.cpuUsage()]
  const { signal } = new AbortController()
  const { loss } = await tuner.step(examples, { learningRate: LEARNING_RATE, signal })
  const { user, system } = process.cpuUsage(cpu)
  return { seconds: (systemClock.now() - began) / 1000, cpuSeconds: (user + system) / 1e6, loss }
}

function rate(seconds: number): string {
  return ((batch * length) / seconds).toFixed(0)
}

function costOf({ seconds, cpuSeconds, loss }: StepCost): string {
  return `${rate(seconds)} tokens/s (${rate(cpuSeconds)} a CPU second), loss ${loss.toFixed(4)}`
}

interface StepCost {
  readonly seconds: number
  /** Of all threads. */
  readonly cpuSeconds: number
  readonly loss: number
}

interface Torch {
  step(examples: readonly TokenExample[]): Promise<StepCost>
  stop(): void
}

async function startTorch(): Promise<Torch> {
  const script = join(import.meta.dir, 'bench-tune.py')
  const env = { ...process.env, OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1' }
  const child = Bun.spawn([values.python, script, folder], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
    env
  })
  const lines = readLines(child.stdout)
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`${values.python} ended`)
    return JSON.parse(value)
  }
  await next()
  return {
    async step(examples) {
      const each = Math.max(1, Math.floor(rows / length))
      const batches: number[][][] = []
      for (let i = 0; i < examples.length; i += each) {
        batches.push(examples.slice(i, i + each).map(({ ids }) => [...ids]))
      }
      child.stdin.write(`${JSON.stringify(batches)}\n`)
      await child.stdin.flush()
      return (await next()) as StepCost
    },
    stop: () => child.kill()
  }
}

async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true })
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    yield* lines
  }
  return undefined
}

/** The model's weights as floats in a folder that transformers reads. */
async function writeForTorch({ tensors }: Model, to: string): Promise<void> {
  if (config.family !== 'llama') throw new Error('This bench knows models of the Llama family')
  const floats = tensors.list().map(({ name, type, shape }): FloatTensor => {
    return { name, shape, values: dequantise(type, tensors.read(name)) }
  })
  await Bun.write(join(to, 'model.safetensors'), safetensors(floats))
  const facts = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: config.hiddenSize,
    intermediate_size: config.ffnSize,
    num_hidden_layers: config.blockCount,
    num_attention_heads: config.headCount,
    num_key_value_heads: config.kvHeadCount,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    rms_norm_eps: config.rmsEps,
    rope_theta: config.ropeTheta,
    max_position_embeddings: config.contextLength,
    tie_word_embeddings: !tensors.has('lm_head.weight')
  }
  await Bun.write(join(to, 'config.json'), JSON.stringify(facts))
  const last = targets.map((target) => target.slice(target.lastIndexOf('.') + 1))
  const settings = { threads, rank, scale: SCALE, lr: LEARNING_RATE, targets: last }
  await Bun.write(join(to, 'settings.json'), JSON.stringify(settings))
}

function median(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN
}
