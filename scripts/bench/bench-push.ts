// bun scripts/bench/bench-push.ts [--rtt 0,20,50,100] [--servers 2,4] [--runs 3] [--tokens 64]
//   [--prompt 512] [--model smollm2-135m|random-1.1b] [--threads 1] [--petals ./petals]
// Servers that push, each two of them a round trip apart, beside llama.cpp's RPC over the same
// wires, in turn: tokens a second, how near to (ring trip + compute), and a prompt against its
// slowest server. Medians. Needs sh scripts/llama/build-llama-rpc.sh once, and Linux and root for
// round trips over 0. Nothing is asserted.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { seededRandom } from '../../src/base/random.ts'
import { openModel } from '../../src/model/open-model.ts'
import { createTokenizer } from '../../src/model/text/tokenizer.ts'
import { benchModel } from './parts/bench-models.ts'
import { FarSwarm } from '../net/far-swarm.ts'
import { LlamaRpc } from '../llama/llama-rpc.ts'
import { endOnSignals } from '../processes.ts'
import { SlowNetwork } from '../net/slow-network.ts'
import { median, readPromptTrace, readStats, readTrace } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    rtt: { type: 'string', default: '0,20,50,100' },
    servers: { type: 'string', default: '2,4' },
    threads: { type: 'string', default: '1' },
    runs: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '64' },
    prompt: { type: 'string', default: '512' }
  }
})
const [tokens, promptLength, runs] = [
  Number(values.tokens),
  Number(values.prompt),
  Number(values.runs)
]
const petals = values.petals.split(' ')

const PROMPT = 'Once upon a time there was a lighthouse keeper who lived by the sea. One day'
/** Words that are one token each in most vocabularies. */
const WORDS = 'time house water light people world great place small right hand part way day year'

const { location, path, argument } = await benchModel(values.model)
const model = await openModel(location)
const { blockCount } = model.config

/**
 * A text of so many tokens with little repetition; no server has kept its beginning for another
 * seed.
 */
function textOf(length: number, seed: number): string {
  const random = seededRandom(seed)
  const tokenizer = createTokenizer(model.tokenizer)
  const words = WORDS.split(' ')
  let text = ''
  while (tokenizer.encode(text).length < length) text += `${words[random.below(words.length)]} `
  return text
}

/** Results of one round, ms and tokens a second. */
interface Round {
  readonly rate: number
  readonly guessedRate: number
  readonly rpcRate: number
  /** Of a step: the compute time of all servers, and the client's own time. */
  readonly computeMs: number
  readonly clientMs: number
  /** Of a median step: time between servers, including waiting in queues. */
  readonly networkMs: number
  readonly firstTokenMs: number
  readonly openingMs: number
  /** Of a prompt: the slowest server's compute, or all servers' when they share too few cores. */
  readonly slowestMs: number
  readonly rpcPromptMs: number
}

async function measure(far: FarSwarm, rpc: LlamaRpc, prompt: string): Promise<Round> {
  const ask = async (text: string, ...more: string[]): Promise<string> => {
    const args = [text, '--raw', '--temperature', '0', '--stats', '--trace', '--threads']
    return (await far.swarm.ask(argument, [...args, values.threads, ...more])).stderr
  }
  const plain = await ask(PROMPT, '--no-speculate', '--max-tokens', values.tokens)
  const [rpcRate = 0] = await rpc.measure({ prompt: 0, decode: tokens, rounds: 1 })
  const guessed = await ask(PROMPT, '--max-tokens', values.tokens)
  const long = await ask(prompt, '--no-speculate', '--max-tokens', '2')
  const { promptTokens } = readStats(long)
  const [rpcPromptRate = 0] = await rpc.measure({ prompt: promptTokens, decode: 0, rounds: 1 })
  const step = readTrace(plain)
  const sum = (...parts: string[]): number =>
    parts.reduce((total, part) => total + (step.get(part) ?? 0), 0)
  const { firstTokenMs, openingMs, computeMs } = readPromptTrace(long)
  const total = computeMs.reduce((sum, ms) => sum + ms, 0)
  return {
    rate: readStats(plain).tokensPerSecond,
    guessedRate: readStats(guessed).tokensPerSecond,
    rpcRate,
    computeMs: sum('compute'),
    clientMs: sum('embed', 'encode', 'decode', 'head', 'sample'),
    networkMs: sum('network', 'queue'),
    firstTokenMs,
    openingMs,
    slowestMs: Math.max(...computeMs, total / availableParallelism()),
    rpcPromptMs: (promptTokens / rpcPromptRate) * 1000
  }
}

async function bench(servers: number, rttMs: number): Promise<void> {
  const { threads } = values
  const options = { petals, model: argument, blocks: blockCount, servers, threads, rttMs }
  await using far = new FarSwarm(options)
  const measuredRtt = await far.roundTripMs()
  await far.start()
  await using rpc = new LlamaRpc(path, threads, far.within('client'))
  const places = Array.from({ length: servers }, (_, i) => ({
    host: far.address(i),
    within: far.within(i)
  }))
  await rpc.start(places)
  const rounds: Round[] = []
  // The first round only warms up.
  for (let run = -1; run < runs; run++) {
    const round = await measure(far, rpc, textOf(promptLength, run + 2))
    if (run >= 0) rounds.push(round)
  }
  const of = (key: keyof Round): number => median(rounds.map((round) => round[key]))
  const ratio = median(rounds.map(({ rate, rpcRate }) => rate / rpcRate))
  const ring = ((servers + 1) / 2) * measuredRtt
  const floor = ring + of('computeMs') + of('clientMs')
  const step = 1000 / of('rate')
  const rest = of('firstTokenMs') - of('openingMs')
  const ms = (value: number): string => value.toFixed(1)
  console.log(
    `${servers} servers, ${rttMs} ms RTT (${measuredRtt.toFixed(2)} measured)\n` +
      `  decode ${ms(of('rate'))} tokens/s, llama.cpp RPC ${ms(of('rpcRate'))}: ratio ${ratio.toFixed(2)}; ` +
      `with guesses ${ms(of('guessedRate'))}: ratio ${(of('guessedRate') / of('rpcRate')).toFixed(2)}\n` +
      `  a step ${ms(step)} ms, floor ${ms(floor)} (ring ${ms(ring)}, compute ${ms(of('computeMs'))}, ` +
      `client ${ms(of('clientMs'))}): ${(step / floor).toFixed(3)} of it, a median step ` +
      `${((floor - ring + of('networkMs')) / floor).toFixed(3)}\n` +
      `  prompt of ${promptLength}: ${ms(rest)} ms behind ${ms(of('openingMs'))} of opening; ring + slowest server ` +
      `(or all, over ${availableParallelism()} cores) ${ms(ring + of('slowestMs'))}: ` +
      `${(rest / (ring + of('slowestMs'))).toFixed(2)} of it; llama.cpp RPC ${ms(of('rpcPromptMs'))} ms`
  )
}

endOnSignals()
LlamaRpc.check()
const numbers = (text: string): number[] => text.split(',').map(Number)
console.log(
  `${model.config.name}, ${values.threads} threads a server, medians of ${runs} runs in turn`
)
for (const servers of numbers(values.servers)) {
  for (const rttMs of numbers(values.rtt)) {
    if (rttMs === 0 || SlowNetwork.isPossible) await bench(servers, rttMs)
    else console.log(`${servers} servers, ${rttMs} ms RTT: needs Linux and root, left out`)
  }
}
model.close()
