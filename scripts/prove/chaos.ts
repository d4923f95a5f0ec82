// bun scripts/prove/chaos.ts [--petals ./petals] [--seed 1] [--tokens 600] [--model smollm2-135m]
//   [--delay 5] [--loss 0.005] [--only kill,freeze,...] [--temperature 0,0.8]
//   [--cpu plain,avx2,avx512,amx]
// Long answers while every server in turn is killed, frozen, restarted, cut off (both ways, or
// one), has no room left, or is followed by one that answers garbage, at seeded moments: each text
// must equal that of an undisturbed run. All are separate processes of the executable, behind a
// seeded UDP proxy on loopback (loopback-net.ts; no root needed). --cpu gives servers instruction
// sets in turn. Prints each fault's gap, and where it goes. Exits with 1 when a text differs, or a
// fault was not survived or never done. Wrong but likely values of a server are not noticed yet, so
// they are not among the faults.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { seededRandom } from '../../src/base/random.ts'
import { LIES } from '../../test/support/hostile/garbage-peer.ts'
import { WatchedAnswer, type Gap } from './chaos-answer.ts'
import { ChaosSwarm, FAULTS, type FaultName } from './chaos-swarm.ts'
import { endOnSignals, killPrograms } from '../processes.ts'
import { median, readStats } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    blocks: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '600' },
    temperature: { type: 'string', default: '0,0.8' },
    delay: { type: 'string', default: '5' },
    jitter: { type: 'string', default: '2' },
    loss: { type: 'string', default: '0.005' },
    only: { type: 'string' },
    cpu: { type: 'string' },
    /** Tells what the client said around faults that took long. */
    verbose: { type: 'boolean', default: false }
  }
})

const PROMPT =
  'Once upon a time, in a village by the sea, there lived an old keeper of a lighthouse.'
/**
 * A fault on a server in use is noticed within this time, and so is a step that is never answered.
 */
const FELT_MS = 12_000
/** Missing room shows when the answer outgrows what was promised. */
const ROOM_FELT_MS = 60_000
/** With so many characters the promised 512 tokens are far from used up. */
const ROOM_CHARS = 1_200
/** An answer that outgrows the promise by enough. */
const ROOM_TOKENS = 600
const MEND_MS = 90_000
/** Between faults, at most: both copies of a span must not be down for the same reason. */
const REST_MS = 1_500

interface Fault {
  readonly name: FaultName
  /** Which of the spans it is done to. */
  readonly third: number
}

interface Felt extends Fault {
  readonly gap: Gap | undefined
}

const random = seededRandom(Number(values.seed))
const felt: Felt[] = []

/**
 * Every fault on every span, in a seeded order; those that room is about come first in an answer.
 */
function deck(): Fault[] {
  const names = values.only?.split(',') ?? FAULTS
  const faults = FAULTS.filter((name) => names.includes(name)).flatMap((name) =>
    (LIES as readonly string[]).includes(name)
      ? { name, third: random.below(3) }
      : [0, 1, 2].map((third) => ({ name, third }))
  )
  return faults
    .map((fault) => ({ fault, at: random.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ fault }) => fault)
}

function begin(chaos: ChaosSwarm, temperature: string, tokens = values.tokens): WatchedAnswer {
  const sampling = ['--temperature', temperature, '--seed', values.seed]
  const args = [PROMPT, '--raw', '--max-tokens', tokens, ...sampling, '--stats', '--debug']
  return new WatchedAnswer(chaos.swarm.chat(values.model, args))
}

/**
 * Does one fault and waits until it was felt and repaired. False when the answer was over before.
 */
async function suffer(chaos: ChaosSwarm, answer: WatchedAnswer, fault: Fault): Promise<boolean> {
  const { name, third } = fault
  await answer.until(() => chaos.among(answer.route, third) !== undefined, FELT_MS)
  await Bun.sleep(random.below(REST_MS))
  const victim = chaos.among(answer.route, third)
  // Once the answer has outgrown what was promised it wants no more room for long.
  const isLate = name === 'room' && answer.text.length > ROOM_CHARS
  if (answer.over || isLate || !victim) return false
  const at = performance.now()
  const heal = await chaos.hurt(name, victim)
  // A garbage server takes a moment to start, before which nothing happens.
  const from = (LIES as readonly string[]).includes(name) ? performance.now() : at
  const gap = await answer.gapAfter(from, name === 'room' ? ROOM_FELT_MS : FELT_MS, MEND_MS)
  await heal()
  if (values.verbose) {
    const told = answer.lines.filter(({ ms }) => ms >= at)
    for (const { ms, line } of told) console.log(`    ${Math.round(ms - at)}: ${line}`)
  }
  const over = answer.over && !gap
  if (!over) felt.push({ ...fault, gap })
  console.log(`  ${name.padEnd(8)} ${victim.name.padEnd(8)} ${gapText(gap)}`)
  return !over
}

function gapText(gap: Gap | undefined): string {
  if (!gap) return 'not felt'
  const { detectMs, openMs, replayMs, replayed, pauseMs } = gap
  const parts = [detectMs, openMs, replayMs, pauseMs].map((ms) => `${Math.round(ms)}`.padStart(6))
  return `detected${parts[0]}, opened${parts[1]}, replayed ${replayed} in${parts[2]}; pause${parts[3]} ms`
}

async function undisturbed(chaos: ChaosSwarm, temperature: string): Promise<Plain> {
  const answer = begin(chaos, temperature)
  const text = await answer.end(600_000)
  const stderr = answer.lines.map(({ line }) => line).join('\n')
  const { tokens, tokensPerSecond, firstTokenMs } = readStats(stderr)
  console.log(
    `undisturbed at temperature ${temperature}: ${tokens} tokens, ${tokensPerSecond} a second`
  )
  return { text, tokensPerSecond, firstTokenMs }
}

interface Plain {
  readonly text: string
  readonly tokensPerSecond: number
  readonly firstTokenMs: number
}

/** A prompt that all servers compute together, then one of them computes again: its replacement. */
async function promptHistory(chaos: ChaosSwarm): Promise<void> {
  const prompt = Array.from({ length: 28 }, (_, i) => `${i}. ${PROMPT}`).join(' ')
  for (const third of chaos.spans.keys()) {
    const args = [prompt, '--raw', '--max-tokens', '80', '--no-speculate', '--temperature', '0']
    const program = chaos.swarm.chat(values.model, [...args, '--stats', '--trace', '--debug'])
    const answer = new WatchedAnswer(program)
    await answer.until(() => answer.texts.length > 3, MEND_MS)
    const victim = chaos.among(answer.route, third)
    if (!victim || answer.over) continue
    const at = performance.now()
    const heal = await chaos.hurt('kill', victim)
    const gap = await answer.gapAfter(at, FELT_MS, MEND_MS)
    await heal()
    await answer.end(MEND_MS)
    const { promptTokens, firstTokenMs } = readStats(program.stderr)
    if (!gap || gap.replayMs === 0) continue
    const ratio = (firstTokenMs / gap.replayMs).toFixed(1)
    console.log(
      `a prompt of ${promptTokens} tokens: first token after ${firstTokenMs} ms; blocks ${victim.blocks} ` +
        `replayed ${gap.replayed} in ${Math.round(gap.replayMs)} ms, ${ratio} times as fast`
    )
  }
}

function summary(plains: readonly Plain[]): void {
  const gaps = felt.flatMap(({ gap }) => gap ?? [])
  const show = (name: string, pick: (gap: Gap) => number): void => {
    const all = gaps.map(pick).filter((ms) => !Number.isNaN(ms))
    if (all.length === 0) return
    console.log(
      `${name}: median ${Math.round(median(all))}, most ${Math.round(Math.max(...all))} ms`
    )
  }
  console.log(`${felt.length} faults, ${gaps.length} felt`)
  if (gaps.length === 0) return
  // Room is missed only when the answer outgrows what was promised.
  const soon = new Set(felt.flatMap(({ name, gap }) => (gap && name !== 'room' ? gap : [])))
  show('detection', (gap) => (soon.has(gap) ? gap.detectMs : Number.NaN))
  show('planning and opening', (gap) => gap.openMs)
  show('replay', (gap) => gap.replayMs)
  show('pause of the text', (gap) => gap.pauseMs)
  for (const name of new Set(felt.map((one) => one.name))) {
    const pauses = felt.flatMap((one) => (one.name === name && one.gap ? one.gap.pauseMs : []))
    console.log(
      `  ${name.padEnd(9)} ${pauses.length} times, pause ${Math.round(median(pauses))} ms`
    )
  }
  const rate = median(plains.map((plain) => plain.tokensPerSecond))
  const long = gaps.filter(({ replayed, replayMs }) => replayed >= 200 && replayMs > 0)
  const ratios = long.map(({ replayed, replayMs }) => ((replayed / rate) * 1000) / replayMs)
  if (ratios.length === 0) return
  const [least = 0] = ratios.toSorted((a, b) => a - b)
  console.log(
    `histories of 200 tokens and more replayed ${median(ratios).toFixed(1)} times as fast as they were ` +
      `made (least ${least.toFixed(1)}), ${long.length} of them`
  )
}

async function main(): Promise<number> {
  const quality = {
    delayMs: Number(values.delay),
    jitterMs: Number(values.jitter),
    loss: Number(values.loss)
  }
  const { model } = values
  const blocks = Number(values.blocks)
  const hasRoom = values.only?.split(',').includes('room') ?? true
  if (hasRoom && Number(values.tokens) < ROOM_TOKENS) {
    console.error(`'room' needs --tokens ${ROOM_TOKENS} or more: fewer fit into what is promised`)
    return 2
  }
  const petals = values.petals.split(' ')
  const cpus = values.cpu?.split(',') ?? []
  await using chaos = new ChaosSwarm({ petals, model, blocks, random, quality, cpus })
  await chaos.start()
  let wrong = 0
  const plains: Plain[] = []
  const undone: Fault[] = []
  for (const temperature of values.temperature.split(',')) {
    const plain = await undisturbed(chaos, temperature)
    plains.push(plain)
    let left = deck()
    for (let round = 1; left.length > 0 && round < 40; round++) {
      console.log(`answer ${round}`)
      const answer = begin(chaos, temperature)
      while (left[0] && (await suffer(chaos, answer, left[0]))) left = left.slice(1)
      const text = await answer.end(600_000)
      const same = text === plain.text
      if (!same) wrong++
      console.log(same ? '  same text' : `  OTHER TEXT: ${text}`)
    }
    undone.push(...left)
  }
  await promptHistory(chaos)
  summary(plains)
  const missed = felt.filter(({ gap }) => !gap)
  console.log(wrong === 0 ? 'every text was the same' : `${wrong} texts were OTHER`)
  for (const { name, third } of missed) console.log(`not felt: ${name} of span ${third}`)
  for (const { name, third } of undone) console.log(`never done: ${name} of span ${third}`)
  return wrong === 0 && undone.length === 0 ? 0 : 1
}

endOnSignals()
const code = await main().finally(killPrograms)
process.exit(code)
