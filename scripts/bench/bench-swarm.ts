// bun scripts/bench/bench-swarm.ts [--petals ./petals] [--model smollm2-135m] [--runs 5]
//   [--tokens 64]
// One server against three on loopback, same model, prompt and threads, in turn: tokens a second,
// time to first token, where a step's time goes, and the ratio. Nothing is asserted.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { endOnSignals } from '../processes.ts'
import { median, ProgramSwarm, readStats, thirdsOf } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    runs: { type: 'string', default: '5' },
    tokens: { type: 'string', default: '64' },
    threads: { type: 'string', default: '2' }
  }
})

const PROMPT = 'Explain in a few sentences why the sky is blue and why sunsets are red.'
const blocks = Number(values.blocks)

interface Setup {
  readonly name: string
  readonly spans: readonly string[]
}

const SETUPS: readonly Setup[] = [
  { name: 'one server', spans: [`0:${blocks}`] },
  { name: 'three servers', spans: thirdsOf(blocks) }
]

async function measure(
  swarm: ProgramSwarm
): Promise<{ rate: number; firstMs: number; trace: string }> {
  const { stderr } = await swarm.ask(values.model, [
    PROMPT,
    '--temperature',
    '0',
    '--max-tokens',
    values.tokens,
    '--no-prefix-cache',
    '--stats',
    '--trace'
  ])
  const stats = readStats(stderr)
  const trace = /^step, .*$/m.exec(stderr)?.[0] ?? ''
  return { rate: stats.tokensPerSecond, firstMs: stats.firstTokenMs, trace }
}

async function main(): Promise<void> {
  const swarms: { setup: Setup; swarm: ProgramSwarm; rates: number[]; firsts: number[] }[] = []
  await using stack = new AsyncDisposableStack()
  for (const setup of SETUPS) {
    const swarm = stack.use(new ProgramSwarm([values.petals]))
    await swarm.bootstrap()
    for (const span of setup.spans) {
      await swarm.join(values.model, span, ['--threads', values.threads])
    }
    swarms.push({ setup, swarm, rates: [], firsts: [] })
  }
  for (const { swarm } of swarms) await measure(swarm)
  const traces = new Map<string, string>()
  for (let run = 0; run < Number(values.runs); run++) {
    for (const { setup, swarm, rates, firsts } of swarms) {
      const { rate, firstMs, trace } = await measure(swarm)
      rates.push(rate)
      firsts.push(firstMs)
      traces.set(setup.name, trace)
    }
  }
  for (const { setup, rates, firsts } of swarms) {
    console.log(
      `${setup.name}: ${median(rates).toFixed(1)} tokens/s (${Math.min(...rates)} to ${Math.max(...rates)}), ` +
        `first token ${median(firsts)} ms`
    )
    console.log(`  ${traces.get(setup.name)}`)
  }
  const [one, three] = swarms
  if (one && three) {
    console.log(`three servers / one: ${(median(three.rates) / median(one.rates)).toFixed(2)}`)
  }
}

endOnSignals()
await main()
