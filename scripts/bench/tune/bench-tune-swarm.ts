// bun scripts/bench/tune/bench-tune-swarm.ts [--servers 1,2] [--rtt 0,50] [--steps 5] [--batch 16]
//   [--length 256] [--rows 512] [--model smollm2-135m|random-1.1b] [--threads 1]
//   [--share 1] [--petals ./petals]
// How fast LoRA trains over servers that are each a round trip apart: tokens a second by the
// medians of steps, against the first of the setups; how much of the time each server computes,
// against the ideal of a pipeline; and each server's most memory, before and in training. --share
// gives each server so much of a core, so that the client has one where there are few. Needs Linux
// and root for that, and for round trips over 0. Nothing is asserted.
import { readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { scriptArguments } from '../../arguments.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { createTokenizer } from '../../../src/model/text/tokenizer.ts'
import { FarSwarm } from '../../net/far-swarm.ts'
import { median } from '../../net/swarm-programs.ts'
import { endOnSignals } from '../../processes.ts'
import { benchModel } from '../parts/bench-models.ts'

const root = join(import.meta.dir, '..', '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    rtt: { type: 'string', default: '0,50' },
    servers: { type: 'string', default: '1,2' },
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '5' },
    batch: { type: 'string', default: '16' },
    length: { type: 'string', default: '256' },
    rows: { type: 'string', default: '512' },
    share: { type: 'string', default: '1' }
  }
})
const petals = values.petals.split(' ')
const [steps, batch, length, rows, threads] = [
  values.steps,
  values.batch,
  values.length,
  values.rows,
  values.threads
].map(Number) as [number, number, number, number, number]

/** Words that are one token each in most vocabularies. */
const WORDS = 'time house water light people world great place small right hand part way day year'

const { location, argument } = await benchModel(values.model)
const model = await openModel(location)
const { blockCount } = model.config

/** A text of so many tokens; a step's are different ones. */
function textOf(seed: number): string {
  const random = seededRandom(seed)
  const tokenizer = createTokenizer(model.tokenizer)
  const words = WORDS.split(' ')
  let text = ''
  while (tokenizer.encode(text).length < length) text += `${words[random.below(words.length)]} `
  return text
}

/** CPU time of a process, s, and its memory now and at most, bytes. */
function processFacts(pid: number): { cpuSeconds: number; bytes: number; mostBytes: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = (name: string): number =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  // Fields 14 and 15, in ticks of 10 ms.
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / 100
  return { cpuSeconds, bytes: of('VmRSS'), mostBytes: of('VmHWM') }
}

interface Logged {
  readonly step: number
  readonly rows: number
  readonly seconds: number
  readonly loss: number
}

async function readLog(path: string): Promise<Logged[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Logged)
}

interface Result {
  readonly rate: number
  readonly loss: number
  /** Share of the time that each server's threads compute, and then the client's. */
  readonly busy: readonly number[]
  readonly bytes: readonly number[]
  readonly mostBytes: readonly number[]
}

async function measure(servers: number, rttMs: number, data: string): Promise<Result> {
  const options = { petals, model: argument, blocks: blockCount, servers, threads: values.threads }
  await using far = new FarSwarm({ ...options, rttMs, share: Number(values.share) })
  await far.start()
  const out = join(far.swarm.folder, 'out')
  await mkdir(out)
  const pids = far.served.map(({ program }) => program.pid)
  const before = pids.map(processFacts)
  const shape = ['--batch', values.batch, '--rows', values.rows, '--max-length', values.length]
  await using tuning = far.swarm.tune(argument, data, [
    '--out',
    out,
    '--yes',
    '--epochs',
    '1',
    '--threads',
    '1',
    '--here',
    'none',
    ...shape
  ])
  const ended = tuning.end(900_000)
  // The client's own work is told as the last one's.
  const all = [...pids, tuning.pid]
  const log = join(out, 'log.jsonl')
  // The first step builds programs and warms up; the last ends while this looks.
  let began: { facts: ReturnType<typeof processFacts>[]; at: number } | undefined
  let finished = began
  for (;;) {
    const { length: done } = await readLog(log)
    if (done >= 1) began ??= { facts: all.map(processFacts), at: performance.now() }
    if (done >= steps) {
      finished = { facts: all.map(processFacts), at: performance.now() }
      break
    }
    if (await Promise.race([ended.then(() => true), Bun.sleep(20).then(() => false)])) break
  }
  const ending = await ended
  if (ending.code !== 0) throw new Error(`tune ended with ${ending.code}: ${ending.stderr}`)
  const logged = (await readLog(log)).slice(1)
  const seconds = ((finished?.at ?? 0) - (began?.at ?? 0)) / 1000
  return {
    rate: median(logged.map((step) => step.rows / step.seconds)),
    loss: logged.at(-1)?.loss ?? Number.NaN,
    busy: all.map((_, i) => {
      const used = (finished?.facts[i]?.cpuSeconds ?? 0) - (began?.facts[i]?.cpuSeconds ?? 0)
      const share = i < pids.length ? Math.min(1, Number(values.share)) : 1
      return used / (seconds * threads * share)
    }),
    bytes: before.map(({ bytes }) => bytes),
    mostBytes: finished?.facts.slice(0, -1).map(({ mostBytes }) => mostBytes) ?? []
  }
}

endOnSignals()
const numbers = (text: string): number[] => text.split(',').map(Number)
const micro = Math.ceil(batch / Math.max(1, Math.floor(rows / (length - 1))))
const folder = `/tmp/petals-bench-tune-swarm-${process.pid}`
await mkdir(folder)
const data = join(folder, 'data.jsonl')
const lines = Array.from({ length: steps * batch }, (_, i) => JSON.stringify({ text: textOf(i) }))
await writeFile(data, `${lines.join('\n')}\n`)
console.log(
  `${model.config.name}, LoRA, ${threads} threads a server, ${steps} steps of ${batch} texts of ` +
    `${length} tokens in ${micro} micro-batches`
)
let first: Result | undefined
for (const rttMs of numbers(values.rtt)) {
  for (const servers of numbers(values.servers)) {
    const result = await measure(servers, rttMs, data)
    first ??= result
    const ideal = (micro / (micro + servers - 1)).toFixed(2)
    const of = (list: readonly number[], one: (value: number) => string): string =>
      list.map(one).join(' and ')
    const mebi = (value: number): string => `${Math.round(value / 2 ** 20)}`
    console.log(
      `${servers} servers, ${rttMs} ms RTT: ${result.rate.toFixed(1)} tokens/s, ` +
        `${(result.rate / first.rate).toFixed(2)} of the first; loss ${result.loss.toFixed(4)}\n` +
        `  computes ${of(result.busy.slice(0, -1), (share) => share.toFixed(2))} of the time, a ` +
        `pipeline ${ideal} at most, the client ${result.busy.at(-1)?.toFixed(2)}; memory ${of(result.bytes, mebi)} MiB, at most ` +
        `${of(result.mostBytes, mebi)} in training`
    )
  }
}
