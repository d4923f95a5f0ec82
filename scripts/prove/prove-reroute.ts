// bun scripts/prove/prove-reroute.ts [--petals ./petals] [--delay 30] [--tokens 500] [--seed 1]
// A long answer through three servers behind a proxy that delays packets. Meanwhile one joins that
// has all blocks: one trip instead of four. The session must go over to it by choice, then leave it
// when it is told to stop (SIGINT), both without an error and with the same text. Separate
// processes of the executable, no root needed. Prints what was seen, exits with 1 when it was not
// so.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { seededRandom } from '../../src/base/random.ts'
import { WatchedAnswer } from './chaos-answer.ts'
import { ChaosSwarm } from './chaos-swarm.ts'
import { realHost } from '../net/loopback-net.ts'
import { endOnSignals } from '../processes.ts'
import { readStats } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    delay: { type: 'string', default: '30' },
    tokens: { type: 'string', default: '500' },
    seed: { type: 'string', default: '1' },
    /** Tells what the client said. */
    verbose: { type: 'boolean', default: false }
  }
})

const MODEL = 'smollm2-135m'
const BLOCKS = 30
const PROMPT =
  'Once upon a time, in a village by the sea, there lived an old keeper of a lighthouse.'
const WHOLE_HOST = 60
const MOVE_MS = 120_000

function begin(chaos: ChaosSwarm): WatchedAnswer {
  const args = [PROMPT, '--raw', '--temperature', '0', '--max-tokens', values.tokens]
  return new WatchedAnswer(chaos.swarm.chat(MODEL, [...args, '--stats', '--debug']))
}

function movesOf(answer: WatchedAnswer): string[] {
  return answer.lines.map(({ line }) => line).filter((line) => line.includes('a better route:'))
}

async function main(): Promise<number> {
  const random = seededRandom(Number(values.seed))
  const quality = { delayMs: Number(values.delay) }
  const petals = values.petals.split(' ')
  await using chaos = new ChaosSwarm({ petals, model: MODEL, blocks: BLOCKS, random, quality })
  await chaos.start()
  const plainAnswer = begin(chaos)
  const plain = await plainAnswer.end(900_000)
  const plainRate = rateOf(plainAnswer)
  console.log(`three servers: ${plainRate} tokens/s`)
  const answer = begin(chaos)
  await answer.until(() => answer.route.length > 0, 60_000)
  const args = ['--threads', '1', '--memory', '1g', '--host', realHost(WHOLE_HOST)]
  const whole = await chaos.swarm.join(MODEL, `0:${BLOCKS}`, args, 'whole')
  const joined = performance.now()
  await answer.until(() => movesOf(answer).length > 0, MOVE_MS)
  const over = ((performance.now() - joined) / 1000).toFixed(1)
  console.log(
    `went over ${over} s after the whole model was served: ${movesOf(answer).length} moves`
  )
  await Bun.sleep(5_000)
  const early = answer.over
  whole.program.signal('SIGINT')
  const ending = await whole.program.end(30_000)
  console.log(`SIGINT; the server ended with ${ending.code}${early ? ', after the answer' : ''}`)
  const text = await answer.end(900_000)
  if (values.verbose)
    for (const { ms, line } of answer.lines) console.log(`  ${Math.round(ms - joined)}: ${line}`)
  const { rerouted } = readStats(answer.lines.map(({ line }) => line).join('\n'))
  const moves = movesOf(answer).length
  console.log(`${moves} moves by choice, ${rerouted} reroutes, ${rateOf(answer)} tokens/s`)
  console.log(text === plain ? 'same text' : `OTHER TEXT: ${text}`)
  return text === plain && moves === 2 && rerouted === 0 ? 0 : 1
}

function rateOf(answer: WatchedAnswer): number {
  return readStats(answer.lines.map(({ line }) => line).join('\n')).tokensPerSecond
}

endOnSignals()
process.exit(await main())
