// bun scripts/bench/bench-speculation.ts [--rtt 0,100] [--servers 2] [--runs 5] [--tokens 128]
//   [--model smollm2-135m] [--threads 1] [--petals ./petals]
// The same answers with guessed tokens and without, in turn, where each two programs are a round
// trip apart: for a text that repeats itself and for one that does not. Tokens a second, their
// ratio, tokens a trip. Exits with 1 when a text differs.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { FarSwarm } from '../net/far-swarm.ts'
import { endOnSignals } from '../processes.ts'
import { SlowNetwork } from '../net/slow-network.ts'
import { median, readStats } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    rtt: { type: 'string', default: '0,100' },
    servers: { type: 'string', default: '2' },
    threads: { type: 'string', default: '1' },
    runs: { type: 'string', default: '5' },
    tokens: { type: 'string', default: '128' }
  }
})

const VERSE = `The lighthouse stands on the northern rock, and its lamp turns once in nine seconds.
The keeper climbs two hundred and four steps each evening with a can of oil in his left hand.
Ships from seven harbours know the light and steer by it until the morning.
`
/** The options of an answer; a seed is added for each run. */
const TEXTS = [
  { name: 'repeats', prompt: VERSE + VERSE + VERSE.slice(0, 30), temperature: '0' },
  // At this temperature two words hardly ever follow each other twice.
  { name: 'does not repeat', prompt: 'Words at random: apple, seven, Tuesday,', temperature: '1.5' }
] as const

interface Run {
  readonly rate: number
  readonly guessedRate: number
  readonly perTrip: number
  readonly isSame: boolean
}

async function measure(far: FarSwarm, text: (typeof TEXTS)[number], seed: number): Promise<Run> {
  const ask = async (...more: string[]): Promise<{ said: string; stderr: string }> => {
    const args = [text.prompt, '--raw', '--stats', '--temperature', text.temperature]
    const limits = ['--max-tokens', values.tokens, '--threads', values.threads]
    const all = [...args, ...limits, '--seed', String(seed), ...more]
    const { stdout, stderr } = await far.swarm.ask(values.model, all)
    return { said: stdout, stderr }
  }
  const plain = await ask('--no-speculate')
  const guessed = await ask()
  return {
    rate: readStats(plain.stderr).tokensPerSecond,
    guessedRate: readStats(guessed.stderr).tokensPerSecond,
    perTrip: Number(/([\d.]+) tokens a trip/.exec(guessed.stderr)?.[1] ?? 1),
    isSame: plain.said === guessed.said
  }
}

/** How many texts differed. */
async function bench(rttMs: number): Promise<number> {
  const { model, threads } = values
  const servers = Number(values.servers)
  const petals = values.petals.split(' ')
  const blocks = Number(values.blocks)
  await using far = new FarSwarm({ petals, model, blocks, servers, threads, rttMs })
  await far.start()
  let differing = 0
  for (const text of TEXTS) {
    const runs: Run[] = []
    // The first run only warms up.
    for (let run = 0; run <= Number(values.runs); run++) {
      const one = await measure(far, text, run + 1)
      if (!one.isSame) differing++
      if (run > 0) runs.push(one)
    }
    const of = (key: 'rate' | 'guessedRate' | 'perTrip'): number => median(runs.map((r) => r[key]))
    const ratios = runs.map(({ rate, guessedRate }) => guessedRate / rate)
    console.log(
      `${servers} servers, ${rttMs} ms RTT, text that ${text.name}: ${of('guessedRate').toFixed(1)} tokens/s, ` +
        `plain ${of('rate').toFixed(1)}: ratio ${median(ratios).toFixed(2)} ` +
        `(${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}), ` +
        `${of('perTrip').toFixed(2)} tokens a trip`
    )
  }
  return differing
}

endOnSignals()
let differing = 0
for (const rttMs of values.rtt.split(',').map(Number)) {
  if (rttMs === 0 || SlowNetwork.isPossible) differing += await bench(rttMs)
  else console.log(`${rttMs} ms RTT: needs Linux and root, left out`)
}
if (differing > 0) console.log(`${differing} TEXTS DIFFER`)
process.exit(differing === 0 ? 0 : 1)
