// `petals tune MODEL DATA`: trains an adapter over the swarm. What it will take is said first, on
// stderr; stdout gets the adapter's folder.
import { readFile, stat } from 'node:fs/promises'
import { systemClock } from '../../base/clock.ts'
import { toHex } from '../../base/bytes.ts'
import { badInput, overLimit } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { MOST_RANK } from '../../blocks/train/adapter-shape.ts'
import { parseHere } from '../../library/open/here.ts'
import type { SwarmOptions } from '../../library/open/membership.ts'
import { Petals } from '../../library/petals.ts'
import type { ModelConfig } from '../../model/types.ts'
import { chooseShape, METHODS, MOST_POSITIONS, shapeNumbers } from '../../tune/choose-shape.ts'
import { examplesOf, labelsOf, type TuneTask } from '../../tune/data/examples.ts'
import { readRecords } from '../../tune/data/records.ts'
import { ScoreHead } from '../../tune/classify/score-head.ts'
import { duration, forecast, forecastLines } from '../../tune/forecast.ts'
import type { TuneMethod, TuneShape } from '../../tune/parameters.ts'
import { prepare, runTuning, type StepNews, type TuningPlan } from '../../tune/run-tuning.ts'
import type { ScheduleKind } from '../../tune/optimise/schedule.ts'
import { Chain } from '../../tune/swarm/chain.ts'
import { MICRO_ROWS } from '../../tune/tuner.ts'
import { requireFreeFolder } from '../../tune/tuning-folder.ts'
import type { Context } from '../context.ts'
import { engineOptions, type EngineOptions } from '../engine.ts'
import { EXIT } from '../exit.ts'
import { parseChoice, parseList, parseNumber, parseWhole } from '../options.ts'
import { print } from '../output.ts'
import { manifestRoots, type ManifestFlags, type PeerFlags } from '../peer-weights.ts'
import { ask, canAsk } from '../terminal/ask.ts'
import { stderrProgress } from '../terminal/stderr.ts'

export interface TuneFlags
  extends SwarmOptions, Omit<EngineOptions, 'memory'>, PeerFlags, ManifestFlags {
  out?: string | undefined
  task?: string | undefined
  method?: string | undefined
  rank?: string | undefined
  alpha?: string | undefined
  rslora?: boolean | undefined
  dropout?: string | undefined
  targets?: string | undefined
  positions?: string | undefined
  lr?: string | undefined
  schedule?: string | undefined
  warmup?: string | undefined
  weightDecay?: string | undefined
  clip?: string | undefined
  epochs?: string | undefined
  batch?: string | undefined
  rows?: string | undefined
  maxLength?: string | undefined
  evalSplit?: string | undefined
  seed?: string | undefined
  saveEvery?: string | undefined
  resume?: boolean | undefined
  yes?: boolean | undefined
  here?: string | undefined
}

/** Of a training file; more does not fit into one text. */
const MOST_DATA_BYTES = 2 ** 29

/** Returns the exit code. */
export async function runTune(
  name: string,
  data: string,
  flags: TuneFlags,
  context: Context
): Promise<number> {
  const { log, signal } = context
  const { bootstrap, swarm: invite, lan, peerWeights } = flags
  const method = parseChoice<TuneMethod>('method', flags.method, METHODS)
  const bytes = await readData(data, context)
  // Bad lines are told before anything is opened.
  const source = data === '-' ? 'stdin' : data
  const task = parseChoice<TuneTask>('task', flags.task, ['text', 'classification']) ?? 'text'
  const lines = examplesOf(await readRecords(bytes, source), source, task)
  const labels = task === 'classification' ? labelsOf(lines, source) : undefined
  const choice = parseHere(flags.here)
  const saveEvery = parseWhole('save-every', flags.saveEvery, 1, 1_000_000)
  const out = flags.out ?? `${name.replaceAll(/[^\w.-]+/g, '-')}-tuned`
  if (flags.resume !== true) await requireFreeFolder(out)
  await using stack = new AsyncDisposableStack()
  const progress = stderrProgress()
  const petals = stack.use(
    new Petals(context, {
      ...engineOptions(flags),
      bootstrap,
      swarm: invite,
      lan,
      here: choice,
      act: 'tune',
      peerWeights,
      roots: manifestRoots(flags),
      progress
    })
  )
  await petals.ready()
  const textModel = stack.use(await petals.openModel(name))
  await textModel.ready()
  const { model, tokenizer } = textModel.local
  const { config } = model
  const plan = planOf(flags, { method: method ?? 'lora', labels }, config)
  const prepared = prepare(lines, source, { model, tokenizer, plan })
  const access = stack.use(textModel.openTraining())
  const { local, swarm, isHere } = access
  const facts = {
    config,
    plan,
    prepared,
    hops: await swarm.plan({ start: 0, end: config.blockCount }),
    infos: await access.servers(),
    isHere,
    numbers: shapeNumbers(config, plan.shape)
  }
  progress.done()
  context.tell(`${forecastLines(forecast(facts), facts).join('\n')}\n`)
  if (!(await mayBegin(flags, context))) return EXIT.ok
  const chain = new Chain({
    swarm,
    blockCount: config.blockCount,
    clock: systemClock,
    onfailure: (peer, error) =>
      log.warn(`server ${peer.slice(0, 8)} is left out for a while: ${error.message}`)
  })
  let pace: number | undefined
  const result = await runTuning({
    plan,
    prepared,
    model: local,
    chain,
    scoreHead: labels && new ScoreHead(model),
    base: { name: config.name, id: toHex(model.contentId) },
    out,
    dataId: new Bun.CryptoHasher('sha256').update(bytes).digest('hex'),
    resume: flags.resume === true,
    saveEvery,
    clock: systemClock,
    signal,
    onstep: (news) => {
      // Steps differ: what is left goes by all lately.
      pace = pace === undefined ? news.seconds : 0.9 * pace + 0.1 * news.seconds
      progress.update(stepLine(news, pace))
    },
    onproblem: ({ message, hint }) => log.warn(`${message} (${hint})`)
  })
  progress.done()
  const last = result.points.at(-1)
  const loss = last === undefined ? '' : `, loss ${last.loss.toFixed(4)}`
  if (result.isStopped) {
    log.warn(`stopped after ${result.steps} of ${prepared.steps} steps${loss}: --resume goes on`)
    return EXIT.interrupted
  }
  log.info(`trained ${result.steps} steps${loss}`)
  if (labels === undefined) log.info(`  it answers: petals chat ${name} --adapter ${out}`)
  await print(`${out}\n`)
  return EXIT.ok
}

async function readData(path: string, context: Context): Promise<Uint8Array> {
  if (path === '-') {
    return new TextEncoder().encode((await context.readStdin?.(MOST_DATA_BYTES)) ?? '')
  }
  try {
    const { size } = await stat(path)
    if (size > MOST_DATA_BYTES) {
      throw overLimit(`'${path}' cannot be trained on: it has more than ${MOST_DATA_BYTES} bytes`, {
        hint: 'Train on a part of it'
      })
    }
    return new Uint8Array(await readFile(path))
  } catch (cause) {
    throw fileError(`'${path}' cannot be read`, cause)
  }
}

interface Asked {
  readonly method: TuneMethod
  readonly labels: readonly string[] | undefined
}

/** @throws AppError BAD_INPUT */
function planOf(flags: TuneFlags, of: Asked, config: ModelConfig): TuningPlan {
  const { method } = of
  const schedule = parseChoice<ScheduleKind>('schedule', flags.schedule, [
    'cosine',
    'linear',
    'constant'
  ])
  return {
    shape: shapeOf(flags, of, config),
    learningRate: share('lr', flags.lr, 10) ?? (method === 'lora' ? 2e-4 : 1e-2),
    schedule: schedule ?? 'cosine',
    warmup: share('warmup', flags.warmup, 1) ?? 0.03,
    weightDecay: share('weight-decay', flags.weightDecay, 1) ?? 0,
    clip: share('clip', flags.clip, 1e6) ?? 1,
    epochs: parseWhole('epochs', flags.epochs, 1, 10_000) ?? 3,
    batch: parseWhole('batch', flags.batch, 1, 4096) ?? 8,
    maxLength: parseWhole('max-length', flags.maxLength, 2, 2 ** 20) ?? 1024,
    evalSplit: share('eval-split', flags.evalSplit, 0.5) ?? 0,
    seed: parseWhole('seed', flags.seed, 0, 2 ** 31 - 1) ?? 0,
    microRows: parseWhole('rows', flags.rows, 1, 4096) ?? MICRO_ROWS
  }
}

function shapeOf(flags: TuneFlags, asked: Asked, config: ModelConfig): TuneShape {
  const { targets } = flags
  return chooseShape(config, {
    ...asked,
    isRankStable: flags.rslora,
    dropout: share('dropout', flags.dropout, 0.99),
    rank: parseWhole('rank', flags.rank, 1, MOST_RANK),
    alpha: share('alpha', flags.alpha, 1e6),
    targets: targets === undefined ? undefined : parseList('targets', targets),
    positions: parseWhole('positions', flags.positions, 1, MOST_POSITIONS)
  })
}

function share(name: string, value: string | undefined, most: number): number | undefined {
  const number = parseNumber(name, value, `a number from 0 to ${most}`)
  if (number === undefined || (number >= 0 && number <= most)) return number
  throw badInput(`--${name} cannot be '${value}'`, { hint: `Give a number from 0 to ${most}` })
}

/** @throws AppError BAD_INPUT where nobody can be asked */
async function mayBegin({ yes }: TuneFlags, context: Context): Promise<boolean> {
  if (yes === true) return true
  if (!canAsk()) {
    throw badInput('The training was not begun: nobody can be asked here', { hint: 'Give --yes' })
  }
  return /^(y(es)?)?$/i.test((await ask('Begin? [Y/n] ', context.signal)) ?? 'n')
}

/** `pace`: seconds of a step lately. */
function stepLine({ step, steps, loss, accuracy, rows, seconds }: StepNews, pace: number): string {
  const left = duration((steps - step) * pace)
  const right = accuracy === undefined ? '' : `, ${(100 * accuracy).toFixed(0)} % right`
  const speed = (rows / Math.max(seconds, 1e-3)).toFixed(0)
  const width = 20
  const filled = Math.round((step / steps) * width)
  const bar = `${'#'.repeat(filled)}${'.'.repeat(width - filled)}`
  return `[${bar}] ${step}/${steps}  loss ${loss.toFixed(4)}${right}  ${speed} tokens/s  ${left} left`
}
