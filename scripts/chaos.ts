// bun scripts/chaos.ts [--petals ./petals] [--seed 1] [--tokens 200] [--model smollm2-135m]
// One long answer while every server is killed or frozen in turn at seeded moments and comes back: the
// text must equal that of an undisturbed run. Prints the gaps. Exits with 1 when a text differs.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { seededRandom } from '../src/base/random.ts'
import { killPrograms, type Program } from './processes.ts'
import { ProgramSwarm, readStats, thirdsOf, type Served } from './swarm-programs.ts'

const root = join(import.meta.dir, '..')
const { values } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '4' },
    temperature: { type: 'string', default: '0' }
  }
})

const PROMPT = 'Write a long story about a lighthouse keeper and the sea.'
const SPANS = thirdsOf(Number(values.blocks))
const random = seededRandom(Number(values.seed))

/** Two servers for each third, so that somebody can take over. */
async function startServers(swarm: ProgramSwarm): Promise<Served[]> {
  const served: Served[] = []
  for (const copy of ['a', 'b']) {
    for (const span of SPANS) {
      served.push(await swarm.join(values.model, span, ['--threads', '1'], `${copy}-${span}`))
    }
  }
  return served
}

/** Text as it came, with the longest pause between two pieces. */
async function answer(client: Program): Promise<{ text: string; gapMs: number; stderr: string }> {
  let last = performance.now()
  let gapMs = 0
  let seen = 0
  while (!client.over) {
    await Bun.sleep(5)
    if (client.stdout.length === seen) continue
    const now = performance.now()
    if (seen > 0) gapMs = Math.max(gapMs, now - last)
    last = now
    seen = client.stdout.length
  }
  const { code, stdout, stderr } = await client.end(1000)
  if (code !== 0) throw new Error(`chat ended with ${code}: ${stderr}`)
  return { text: stdout, gapMs, stderr }
}

async function hurt(swarm: ProgramSwarm, served: Served[], index: number): Promise<void> {
  const victim = served[index]
  if (!victim) return
  const kill = random.next() < 0.5
  console.log(`  ${kill ? 'SIGKILL' : 'SIGSTOP'} ${victim.name}`)
  victim.program.signal(kill ? 'SIGKILL' : 'SIGSTOP')
  await Bun.sleep(2500)
  await swarm.stop(victim)
  served[index] = await swarm.join(values.model, victim.blocks, ['--threads', '1'], victim.name)
}

async function main(): Promise<number> {
  await using swarm = new ProgramSwarm([values.petals])
  await swarm.bootstrap()
  const served = await startServers(swarm)
  const args = [PROMPT, '--temperature', values.temperature, '--seed', values.seed]
  args.push('--max-tokens', values.tokens, '--stats')
  const plain = await answer(swarm.chat(values.model, args))
  console.log(
    `undisturbed: ${readStats(plain.stderr).tokensPerSecond} tokens/s, longest pause ${Math.round(plain.gapMs)} ms`
  )
  let differing = 0
  for (let round = 0; round < Number(values.rounds); round++) {
    const client = swarm.chat(values.model, args)
    const answering = answer(client)
    await client.match('stdout', /./, 60_000)
    for (let i = 0; i < served.length && !client.over; i++) {
      await Bun.sleep(200 + random.below(1500))
      if (!client.over) await hurt(swarm, served, random.below(served.length))
    }
    const { text, gapMs, stderr } = await answering
    const same = text === plain.text
    if (!same) differing++
    console.log(
      `round ${round}: ${same ? 'same text' : 'OTHER TEXT'}, longest pause ${Math.round(gapMs)} ms, ` +
        `${readStats(stderr).rerouted} rerouted`
    )
  }
  console.log(`${Number(values.rounds) - differing} same, ${differing} other`)
  return differing === 0 ? 0 : 1
}

process.on('SIGINT', () => {
  killPrograms()
  process.exit(130)
})
process.exit(await main())
