// bun scripts/prove/check-plan.ts [--petals ./petals] [--model smollm2-135m] [--rounds 5]
//   [--tokens 96]
// The predictions of `petals plan` against what `petals chat` then measures, on swarms of programs
// on loopback: tokens a second, plan and chat in turn, so that other load affects both. Nothing is
// asserted. On a shared machine, `chrt -r 1` in front keeps other programs from being measured.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { resolvePaths } from '../../src/base/paths.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'
import { quantFit } from '../../src/server/placement/plan.ts'
import { endOnSignals } from '../processes.ts'
import { SlowNetwork } from '../net/slow-network.ts'
import { median, ProgramSwarm, readStats } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: '' },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '5' },
    tokens: { type: 'string', default: '96' },
    threads: { type: 'string', default: '1' },
    only: { type: 'string', default: '' }
  }
})

/** A prompt that models with a chat template continue, and those without one too. */
const PROMPT = 'Once upon a time there was a lighthouse keeper who lived by the sea. One day'
/** How often to try when the model ends early. */
const SEEDS = 10
const blocks = Number(values.blocks)
const rounds = Number(values.rounds)
const petals = values.petals
  ? [values.petals]
  : [process.execPath, join(root, 'src', 'cli', 'main.ts')]
const threads = ['--threads', values.threads]

type Kind = 'alone' | 'swarm' | 'joined'

interface Setup {
  readonly name: string
  /** Which of the plan's predictions is checked. */
  readonly kind: Kind
  /** Spans as shares of the model, from 0 to 1. */
  readonly cuts: readonly number[]
  readonly quant: Quant
  /** Share of the blocks that a memory limit leaves the machine that plans, for 'joined'. */
  readonly fitting?: number
  /** Servers behind a wire of FAR_MS each way, by index. */
  readonly far?: readonly number[]
}

/** So that a round trip takes 20 ms. */
const FAR_MS = 10

const SETUPS: readonly Setup[] = [
  { name: 'alone', kind: 'alone', cuts: [0, 1], quant: 'native' },
  { name: 'alone, f32', kind: 'alone', cuts: [0, 1], quant: 'f32' },
  { name: 'one server', kind: 'swarm', cuts: [0, 1], quant: 'native' },
  { name: 'two servers', kind: 'swarm', cuts: [0, 1 / 2, 1], quant: 'native' },
  { name: 'three servers', kind: 'swarm', cuts: [0, 1 / 3, 2 / 3, 1], quant: 'native' },
  { name: 'three uneven', kind: 'swarm', cuts: [0, 0.1, 0.8, 1], quant: 'native' },
  { name: 'five servers', kind: 'swarm', cuts: [0, 0.2, 0.4, 0.6, 0.8, 1], quant: 'native' },
  { name: 'two servers, f32', kind: 'swarm', cuts: [0, 1 / 2, 1], quant: 'f32' },
  { name: 'one of two joins', kind: 'joined', cuts: [0, 1 / 2], quant: 'native', fitting: 0.5 },
  {
    name: 'one of three joins',
    kind: 'joined',
    cuts: [0, 1 / 3, 2 / 3],
    quant: 'native',
    fitting: 1 / 3
  },
  { name: 'far: one', kind: 'swarm', cuts: [0, 1], quant: 'native', far: [0] },
  { name: 'far: one of two', kind: 'swarm', cuts: [0, 1 / 2, 1], quant: 'native', far: [1] },
  { name: 'far: both', kind: 'swarm', cuts: [0, 1 / 2, 1], quant: 'native', far: [0, 1] },
  {
    name: 'far: one joins it',
    kind: 'joined',
    cuts: [0, 1 / 2],
    quant: 'native',
    fitting: 0.5,
    far: [0]
  }
]

interface Seen {
  readonly setup: Setup
  readonly foretold: number[]
  readonly measured: number[]
  /** For each pair: predicted over measured, less one. */
  readonly errors: number[]
  memory?: { foretold: number; measured: number }
}

async function check(setup: Setup): Promise<Seen> {
  using network = setup.far ? new SlowNetwork(FAR_MS, ['near', 'far']) : undefined
  await using swarm = new ProgramSwarm(
    petals,
    network ? { host: network.address('near'), within: network.within('near') } : {}
  )
  await swarm.bootstrap()
  const { kind, quant } = setup
  const cuts = setup.cuts.map((share) => Math.round(share * blocks))
  const serve = [...threads, '--quant', quant]
  for (const [i, last] of cuts.entries()) {
    const first = cuts[i - 1]
    if (first === undefined) continue
    const within = setup.far?.includes(i - 1) ? network?.within('far') : undefined
    await swarm.join(values.model, `${first}:${last}`, serve, undefined, within)
  }
  const seen: Seen = { setup, foretold: [], measured: [], errors: [] }
  const planned = [...threads, '--quant', quant]
  if (setup.fitting !== undefined) {
    const fitting = Math.round(setup.fitting * blocks)
    planned.push('--memory', String(await memoryFor(quant, fitting)))
  }
  // A server that is not there yet cannot be measured in turn with its plan: all plans first.
  if (kind === 'joined') {
    for (let i = 0; i < rounds; i++)
      seen.foretold.push(rateIn(await swarm.plan(values.model, planned), kind))
    const served = await swarm.joinAnywhere(values.model, planned)
    console.error(`  it went to ${served.blocks}`)
  }
  await chat(swarm, 0)
  for (let round = 0; round < rounds; round++) {
    if (kind !== 'joined') {
      seen.foretold.push(rateIn(await swarm.plan(values.model, planned), kind))
    }
    seen.measured.push(await chat(swarm, round))
    const [foretold = 0, measured = 1] = [seen.foretold[round], seen.measured[round]]
    seen.errors.push(foretold / measured - 1)
  }
  return seen
}

/** Tokens a second of an answer that was long enough to measure. */
async function chat(swarm: ProgramSwarm, round: number): Promise<number> {
  for (let seed = round; seed < round + SEEDS * rounds; seed += rounds) {
    const { stderr } = await swarm.ask(values.model, [
      PROMPT,
      ...threads,
      '--raw',
      '--no-speculate',
      '--seed',
      String(seed),
      '--max-tokens',
      values.tokens,
      '--stats'
    ])
    const { tokens, tokensPerSecond } = readStats(stderr)
    if (tokens * 2 >= Number(values.tokens)) return tokensPerSecond
  }
  throw new Error('The model says too little with every seed')
}

/** The least memory in which so many blocks fit. */
async function memoryFor(quant: Quant, wanted: number): Promise<number> {
  const { cache } = resolvePaths(process.env)
  const model = await openModel(await resolveModel(values.model, { cacheDir: cache }))
  try {
    let [low, high] = [0, 2 ** 40]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (quantFit(model, quant, { memoryBytes: middle }).blocks >= wanted) high = middle
      else low = middle
    }
    return high
  } finally {
    model.close()
  }
}

/** @throws Error when the plan does not have it */
function rateIn(plan: unknown, kind: Kind): number {
  const outlook = (plan as Record<Kind, { tokensPerSecond: number | null; why?: string }>)[kind]
  if (outlook.tokensPerSecond === null) throw new Error(`No forecast: ${outlook.why}`)
  return outlook.tokensPerSecond
}

function percent(share: number): string {
  return `${share >= 0 ? '+' : ''}${(share * 100).toFixed(1)} %`
}

async function main(): Promise<void> {
  const errors: number[] = []
  const worst: number[] = []
  console.log('set-up                foretold  measured  error     of single pairs')
  for (const setup of SETUPS) {
    if (!setup.name.includes(values.only)) continue
    if (setup.far && !SlowNetwork.isPossible) {
      console.log(`${setup.name}: needs Linux and root, left out`)
      continue
    }
    const seen = await check(setup)
    const error = median(seen.foretold) / median(seen.measured) - 1
    errors.push(Math.abs(error))
    worst.push(...seen.errors.map(Math.abs))
    console.log(
      `${setup.name.padEnd(20)}  ${median(seen.foretold).toFixed(1).padStart(8)}  ` +
        `${median(seen.measured).toFixed(1).padStart(8)}  ${percent(error).padEnd(8)}  ` +
        seen.errors.map(percent).join(', ')
    )
  }
  console.log(
    `error, median of set-ups: ${percent(median(errors)).slice(1)}, largest ${percent(Math.max(...errors)).slice(1)}; ` +
      `of single pairs: median ${percent(median(worst)).slice(1)}, ` +
      `${worst.filter((error) => error <= 0.2).length} of ${worst.length} within 20 %`
  )
}

endOnSignals()
await main()
