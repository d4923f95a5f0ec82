// bun scripts/bench/bench-prefix.ts [--petals ./petals] [--model smollm2-135m] [--blocks 30]
//   [--servers 3] [--runs 3]
// Time to first token of a chat in a new process whose prompt begins like that of an earlier
// process: with what the servers kept of it, and without (--no-prefix-cache), in turn, at several
// lengths. The answers must be the same. Nothing else is asserted.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { endOnSignals } from '../processes.ts'
import { median, partsOf, ProgramSwarm, readStats } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    servers: { type: 'string', default: '3' },
    lengths: { type: 'string', default: '512,1024,2048' },
    runs: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1' }
  }
})

const WORDS = 'river stone light under seven green house winter paper silver night glass'.split(' ')
const TOKENS = '8'

interface Asked {
  readonly text: string
  readonly promptTokens: number
  readonly reused: number
  readonly firstTokenMs: number
}

/** About `tokens` tokens, different for each `seed`: each word is one token. */
function prefixOf(tokens: number, seed: number): string {
  const words = Array.from({ length: tokens }, (_, i) => {
    return WORDS[(i * 5 + Math.floor(i / 7) * (seed + 3) + seed) % WORDS.length]
  })
  return words.join(' ')
}

async function ask(swarm: ProgramSwarm, prompt: string, more: readonly string[]): Promise<Asked> {
  const args = ['--raw', '--temperature', '0', '--max-tokens', TOKENS, '--stats', ...more]
  const { stdout, stderr } = await swarm.ask(values.model, args, prompt)
  const { promptTokens, firstTokenMs } = readStats(stderr)
  const reused = Number(/\((\d+) reused\)/.exec(stderr)?.[1] ?? 0)
  return { text: stdout, promptTokens, reused, firstTokenMs }
}

async function measure(swarm: ProgramSwarm, tokens: number): Promise<void> {
  const cold: Asked[] = []
  const warm: Asked[] = []
  for (let run = 0; run < Number(values.runs); run++) {
    const prefix = prefixOf(tokens, run)
    const question = `${prefix}\nThe last word of this list is`
    await ask(swarm, `${prefix}\nThe first word of this list is`, [])
    warm.push(await ask(swarm, question, []))
    cold.push(await ask(swarm, question, ['--no-prefix-cache']))
    if (warm.at(-1)?.text !== cold.at(-1)?.text) throw new Error('The answers differ')
  }
  const of = (all: readonly Asked[], key: 'firstTokenMs' | 'reused' | 'promptTokens'): number =>
    median(all.map((one) => one[key]))
  const [without, withIt] = [of(cold, 'firstTokenMs'), of(warm, 'firstTokenMs')]
  const ratios = cold.map((one, i) => one.firstTokenMs / (warm[i]?.firstTokenMs ?? Number.NaN))
  console.log(
    `${of(cold, 'promptTokens')} tokens, ${of(warm, 'reused')} of them kept: first token ` +
      `${without} ms without, ${withIt} ms with: ${median(ratios).toFixed(1)} times as soon ` +
      `(${Math.min(...ratios).toFixed(1)} to ${Math.max(...ratios).toFixed(1)})`
  )
}

async function main(): Promise<void> {
  await using swarm = new ProgramSwarm(values.petals.split(' '))
  await swarm.bootstrap()
  for (const span of partsOf(Number(values.blocks), Number(values.servers))) {
    await swarm.join(values.model, span, ['--threads', values.threads])
  }
  for (const length of values.lengths.split(',')) await measure(swarm, Number(length))
}

endOnSignals()
await main()
