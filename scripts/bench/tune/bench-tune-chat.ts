// bun scripts/bench/tune/bench-tune-chat.ts [--model smollm2-135m|random-1.1b] [--threads 1]
//   [--rounds 6] [--steps 100] [--gap 2] [--rows 512] [--context 128]
// A chat's steps at a server that trains beside them, against the same server without, in turn in
// one run: p50 and p99 of a step's time in the engine and its queue, and their ratios; and how busy
// the server's threads are in both. A client takes --gap ms between two steps. Nothing is asserted.
import { scriptArguments } from '../../arguments.ts'
import { systemClock } from '../../../src/base/clock.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { benchModel } from '../parts/bench-models.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '6' },
    steps: { type: 'string', default: '100' },
    gap: { type: 'string', default: '2' },
    rows: { type: 'string', default: '512' },
    context: { type: 'string', default: '128' }
  }
})
const [threads, rounds, steps, gap, rows, context] = [
  values.threads,
  values.rounds,
  values.steps,
  values.gap,
  values.rows,
  values.context
].map(Number) as [number, number, number, number, number, number]
/** Training steps under way together, as of one trainer. */
const UNDER_WAY = 4

const { location } = await benchModel(values.model)
const { config } = await openModel(location)
const { blockCount, hiddenSize } = config
const range = { start: 0, end: blockCount }
const random = seededRandom(1)
const floats = (count: number, scale = 1): Float32Array =>
  Float32Array.from({ length: count }, () => (2 * random.next() - 1) * scale)

const compute = new Compute({ threads })
await compute.ready()
const { span } = await compute.loadSpan({ location, ...range, quant: 'native' })
const shape = { rank: 8, scale: 2, targets: adapterParts(config).map(({ target }) => target) }
const adapter = { shape, values: floats(adapterNumbers(config, shape, range), 0.01) }
const input = floats(rows * hiddenSize, 0.1)
const gradient = floats(rows * hiddenSize, 0.01)

/** Trains until it is stopped. */
async function train(signal: AbortSignal): Promise<void> {
  const one = async (): Promise<void> => {
    while (!signal.aborted) {
      const step = { span, range, lengths: [rows], adapter }
      try {
        await compute.train({ ...step, hidden: input.slice() }, signal)
        await compute.train({ ...step, hidden: input.slice(), gradient: gradient.slice() }, signal)
      } catch (error) {
        if (!signal.aborted) throw error
      }
    }
  }
  await Promise.all(Array.from({ length: UNDER_WAY }, one))
}

/** Times of a chat's steps, ms. */
async function chat(): Promise<number[]> {
  const session = await compute.openSession(span)
  await compute.step({
    session,
    start: 0,
    count: context,
    hidden: floats(context * hiddenSize, 0.1)
  })
  const times: number[] = []
  for (let i = 0; i < steps; i++) {
    await Bun.sleep(gap)
    const began = systemClock.now()
    const hidden = floats(hiddenSize, 0.1)
    await compute.step({ session, start: context + i, count: 1, hidden })
    times.push(systemClock.now() - began)
  }
  await compute.closeSession(session)
  return times
}

/** What work takes of the cores' time. */
async function busyShare(work: () => Promise<void>): Promise<number> {
  const [began, before] = [systemClock.now(), process.cpuUsage()]
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / (threads * (systemClock.now() - began))
}

const alone: number[] = []
const beside: number[] = []
const shares: { alone: number; beside: number }[] = []
await chat()
for (let round = 0; round < rounds; round++) {
  const share = await busyShare(async () => void alone.push(...(await chat())))
  const stop = new AbortController()
  const training = train(stop.signal)
  const both = await busyShare(async () => void beside.push(...(await chat())))
  shares.push({ alone: share, beside: both })
  stop.abort()
  await training
}
const at = (times: number[], share: number): number =>
  times.toSorted((a, b) => a - b)[Math.floor(share * (times.length - 1))] ?? Number.NaN
const line = (share: number): string => {
  const [a, b] = [at(alone, share), at(beside, share)]
  return `p${share * 100}  ${a.toFixed(2)} ms, beside training ${b.toFixed(2)} ms: ratio ${(b / a).toFixed(2)}`
}
console.log(
  `${config.name}, ${threads} threads, ${rounds * steps} steps each, training ${rows} rows at a time`
)
for (const share of [0.5, 0.9, 0.99]) console.log(line(share))
const mean = (of: (share: (typeof shares)[number]) => number): string =>
  (shares.reduce((sum, share) => sum + of(share), 0) / shares.length).toFixed(2)
console.log(
  `busy ${mean(({ alone: one }) => one)} of the time, with training ${mean(({ beside: two }) => two)}`
)
await compute.close()
