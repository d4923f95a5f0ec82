// A whole training: examples to tokens, steps in their order, a checkpoint now and then, a log, and
// at its end the adapter's folder. Called by cli/run/tune.ts and the library. Knows no terminal.
import type { Clock } from '../base/clock.ts'
import { badInput, corrupt, toAppError, type AppError } from '../base/errors.ts'
import type { ChatModel } from '../model/text/chat-ids.ts'
import type { Tokenizer } from '../model/text/tokenizer.ts'
import { keepTrained, type BaseModel } from './adapter/keep.ts'
import type { ScoreHead } from './classify/score-head.ts'
import type { Checkpoint } from './checkpoint.ts'
import { stepCount, stepsOf } from './data/batches.ts'
import type { Example } from './data/examples.ts'
import { tokenExamples, type TokenExample, type TokenExamples } from './data/tokens.ts'
import type { LossPoint } from './loss-chart.ts'
import { rowsOf } from './micro-batch.ts'
import { learningRateAt, type ScheduleKind } from './optimise/schedule.ts'
import { newValues, VALUE_NAMES, type TuneShape } from './parameters.ts'
import type { TuneModel } from './pass.ts'
import type { Chain } from './swarm/chain.ts'
import { Tuner, type Evaluation, type StepReport } from './tuner.ts'
import { requireFreeFolder, TuningFolder } from './tuning-folder.ts'

export interface TuningPlan {
  readonly shape: TuneShape
  readonly learningRate: number
  readonly schedule: ScheduleKind
  /** Share of all steps. */
  readonly warmup: number
  readonly weightDecay: number
  readonly clip: number
  readonly epochs: number
  /** Examples of a step. */
  readonly batch: number
  /** Tokens of an example. */
  readonly maxLength: number
  /** Share of the examples that are not trained on. */
  readonly evalSplit: number
  readonly seed: number
  /** Rows that travel together. */
  readonly microRows: number
}

/** Examples in tokens, and how many steps they make. */
export interface Prepared {
  readonly trained: readonly TokenExample[]
  readonly held: readonly TokenExample[]
  readonly notes: Pick<TokenExamples, 'cut' | 'empty'>
  readonly steps: number
  /** Rows of all steps together. */
  readonly rows: number
}

export interface TuningOptions {
  readonly plan: TuningPlan
  readonly prepared: Prepared
  readonly model: TuneModel
  readonly chain: Chain
  readonly base: BaseModel
  /** Folder of the adapter. */
  readonly out: string
  /** Names the data, so that another file is noticed. */
  readonly dataId: string
  /** Goes on with what is in `out`. */
  readonly resume: boolean
  /** Where classes are told apart. */
  readonly scoreHead?: ScoreHead | undefined
  /** Steps between checkpoints. Default: one a minute. */
  readonly saveEvery?: number | undefined
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onstep?: ((news: StepNews) => void) | undefined
  /** Told of a file that cannot be written now and will be tried again. */
  readonly onproblem?: ((error: AppError) => void) | undefined
}

export interface StepNews extends StepReport {
  /** Steps done, of how many. */
  readonly step: number
  readonly steps: number
  readonly learningRate: number
  readonly seconds: number
  /** Of the examples that are not trained on. */
  readonly evalLoss?: number | undefined
  readonly evalAccuracy?: number | undefined
}

export interface TuningResult {
  readonly steps: number
  readonly points: readonly LossPoint[]
  /** Whether it was stopped before its end; its state is kept. */
  readonly isStopped: boolean
}

/** A checkpoint after so much work, ms, and at the end. */
const CHECKPOINT_MS = 60_000

/** @throws AppError BAD_INPUT when nothing of `lines` can be learnt */
export function prepare(
  lines: readonly Example[],
  name: string,
  of: { model: ChatModel; tokenizer: Tokenizer; plan: TuningPlan }
): Prepared {
  const { model, tokenizer, plan } = of
  const { contextLength } = model.config
  const positions = plan.shape.positions ?? 0
  const maxLength = Math.min(plan.maxLength, contextLength - positions)
  const { labels } = plan.shape
  const { examples, cut, empty } = tokenExamples(model, tokenizer, lines, { maxLength, labels })
  // Every n-th, so that the share is held whatever the file's order is.
  const every = plan.evalSplit > 0 ? Math.max(2, Math.round(1 / plan.evalSplit)) : Infinity
  const isHeld = (index: number): boolean => index % every === every - 1
  const trained = examples.filter((_, index) => !isHeld(index))
  const held = examples.filter((_, index) => isHeld(index))
  if (trained.length === 0)
    throw badInput(`'${name}' cannot be trained on: nothing is left to learn`)
  const counts = { count: trained.length, batch: plan.batch, epochs: plan.epochs }
  const rows = trained.reduce((sum, example) => sum + rowsOf(example, positions), 0)
  return {
    trained,
    held,
    notes: { cut, empty },
    steps: stepCount(counts),
    rows: rows * plan.epochs
  }
}

/** What a step of the optimiser is made of. */
export interface PlannedStep {
  readonly examples: readonly TokenExample[]
  readonly learningRate: number
}

/** The steps of a whole training in their order. */
export function* plannedSteps(
  plan: TuningPlan,
  { trained, steps }: Prepared
): Generator<PlannedStep> {
  const { batch, epochs, seed, learningRate, schedule: kind } = plan
  const warmup = Math.round(plan.warmup * steps)
  let step = 0
  for (const indices of stepsOf({ count: trained.length, batch, epochs, seed })) {
    yield {
      examples: indices.flatMap((index) => trained[index] ?? []),
      learningRate: learningRateAt({ kind, learningRate, warmup, steps }, step)
    }
    step++
  }
}

/**
 * Trains to the end, or until it is stopped; either way what was learnt is kept.
 * @throws AppError IN_USE for a folder that holds something else, BAD_INPUT when it was begun with
 * other settings, or as a step fails
 */
export async function runTuning(options: TuningOptions): Promise<TuningResult> {
  const { out, resume, clock, onproblem } = options
  await using folder = await TuningFolder.open(out, { clock, onproblem })
  if (!resume) await requireFreeFolder(out)
  return await train(options, folder)
}

async function train(options: TuningOptions, folder: TuningFolder): Promise<TuningResult> {
  const { plan, prepared, model, chain, base, clock, signal, saveEvery } = options
  const settings = settingsOf(options)
  const before = options.resume ? await folder.checkpoint(settings) : undefined
  const { shape, clip, weightDecay, microRows } = plan
  const fresh = newValues(model.config, shape, plan.seed)
  const values = before?.values ?? fresh
  if (VALUE_NAMES.some((name) => values[name]?.length !== fresh[name]?.length)) {
    throw corrupt(
      `The training in '${folder.path}' cannot go on: its numbers are not of this model`
    )
  }
  const { scoreHead } = options
  const tuner = new Tuner(
    { model, chain, scoreHead, shape, values, microRows, seed: plan.seed },
    before?.states
  )
  let done = before?.step ?? 0
  const points = await folder.logged(done)
  const { steps } = prepared
  const perEpoch = Math.ceil(prepared.trained.length / plan.batch)
  const state = (): Checkpoint => ({
    step: done,
    settings,
    values: tuner.values,
    states: tuner.states
  })
  const finish = async (isStopped: boolean): Promise<TuningResult> => {
    const keep = (path: string): Promise<void> =>
      keepTrained(path, tuner.values, { shape, config: model.config, base })
    await folder.finish(state(), { points, title: `${base.name}: loss`, keep })
    return { steps: done, points, isStopped }
  }
  let saved = clock.now()
  try {
    for (const { examples, learningRate } of [...plannedSteps(plan, prepared)].slice(done)) {
      const began = clock.now()
      const report = await tuner.step(examples, { learningRate, clip, weightDecay, signal })
      done++
      const isEpoch = prepared.held.length > 0 && done % perEpoch === 0
      const held = isEpoch ? await evaluated(tuner, prepared, signal) : undefined
      const evalLoss = held?.loss
      const seconds = (clock.now() - began) / 1000
      const told = { step: done, steps, learningRate, seconds, evalLoss }
      const news = { ...report, ...told, evalAccuracy: held?.accuracy }
      points.push({ step: done, loss: report.loss, evalLoss })
      await folder.log(news)
      options.onstep?.(news)
      const isDue =
        saveEvery === undefined ? clock.now() - saved > CHECKPOINT_MS : done % saveEvery === 0
      if (isDue && (await folder.save(state()))) saved = clock.now()
    }
  } catch (error) {
    const stopped = await finish(true)
    if (signal.aborted) return stopped
    throw toAppError(error)
  }
  return finish(false)
}

/** Undefined when it is stopped: the step that was done before it counts all the same. */
async function evaluated(
  tuner: Tuner,
  { held }: Prepared,
  signal: AbortSignal
): Promise<Evaluation | undefined> {
  try {
    return await tuner.evaluate(held, signal)
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
}

/** What going on needs to be the same, by the options' names, in the order of their telling. */
function settingsOf({ plan, base, dataId }: TuningOptions): Readonly<Record<string, unknown>> {
  const { shape, learningRate, weightDecay, maxLength, evalSplit, microRows, ...others } = plan
  const { adapter } = shape
  return {
    model: base.id,
    data: dataId,
    method: shape.method,
    rank: adapter?.rank,
    scale: adapter?.scale,
    targets: adapter?.targets,
    dropout: shape.dropout,
    positions: shape.positions,
    labels: shape.labels,
    lr: learningRate,
    'weight-decay': weightDecay,
    'max-length': maxLength,
    'eval-split': evalSplit,
    rows: microRows,
    ...others
  }
}
