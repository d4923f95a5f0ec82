// A whole training: examples to tokens, steps in their order, a checkpoint now and then, a log, and
// at its end the adapter's folder. Called by cli/run/tune.ts and the library. Knows no terminal.
import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { badInput, inUse, toAppError } from '../base/errors.ts'
import { fileError, folderError } from '../base/files/file-error.ts'
import { tryFileLock } from '../base/files/file-lock.ts'
import { replaceFile } from '../base/files/replace-file.ts'
import type { ChatModel } from '../model/text/chat-ids.ts'
import type { Tokenizer } from '../model/text/tokenizer.ts'
import { keepTrained, type BaseModel } from './adapter/keep.ts'
import { requireKeepable } from './adapter/peft.ts'
import { readCheckpoint, writeCheckpoint } from './checkpoint.ts'
import { stepCount, stepsOf } from './data/batches.ts'
import type { Example } from './data/examples.ts'
import { tokenExamples, type TokenExample, type TokenExamples } from './data/tokens.ts'
import { lossChart, type LossPoint } from './loss-chart.ts'
import { rowsOf } from './micro-batch.ts'
import { learningRateAt, type ScheduleKind } from './optimise/schedule.ts'
import { newValues, type TuneShape, type TuneValues } from './parameters.ts'
import type { TuneModel } from './pass.ts'
import type { Chain } from './swarm/chain.ts'
import { Tuner, type StepReport } from './tuner.ts'

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
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onstep?: ((news: StepNews) => void) | undefined
}

export interface StepNews extends StepReport {
  /** Steps done, of how many. */
  readonly step: number
  readonly steps: number
  readonly learningRate: number
  readonly seconds: number
  readonly evalLoss?: number | undefined
}

export interface TuningResult {
  readonly steps: number
  readonly points: readonly LossPoint[]
  /** Whether it was stopped before its end; its state is kept. */
  readonly isStopped: boolean
}

const CHECKPOINT = 'checkpoint.safetensors'
const LOG = 'log.jsonl'
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
  const { examples, cut, empty } = tokenExamples(model, tokenizer, lines, {
    maxLength
  })
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

/**
 * Trains to the end, or until it is stopped; either way what was learnt is kept. @throws AppError
 */
export async function runTuning(options: TuningOptions): Promise<TuningResult> {
  const { out, model, plan } = options
  if (plan.shape.method === 'lora') requireKeepable(model.config)
  try {
    await mkdir(out, { recursive: true })
  } catch (cause) {
    throw folderError(`'${out}' cannot be made`, cause)
  }
  const release = await tryFileLock(join(out, '.lock'), { clock: options.clock })
  if (release === undefined) throw inUse(`'${out}' is written by another training`)
  try {
    return await train(options)
  } finally {
    await release()
  }
}

async function train(options: TuningOptions): Promise<TuningResult> {
  const { plan, prepared, model, chain, out, clock, signal } = options
  const path = join(out, CHECKPOINT)
  const settings = settingsOf(options)
  const before = options.resume ? await readCheckpoint(path, settings) : undefined
  const { shape, clip, weightDecay, microRows } = plan
  const values = before?.values ?? newValues(model.config, shape, plan.seed)
  const tuner = new Tuner({ model, chain, shape, values, microRows }, before?.states)
  const points = await loggedPoints(join(out, LOG), before?.step ?? 0)
  const { steps } = prepared
  const counts = { count: prepared.trained.length, batch: plan.batch }
  const all = [...stepsOf({ ...counts, epochs: plan.epochs, seed: plan.seed })]
  const perEpoch = Math.ceil(counts.count / counts.batch)
  const save = (step: number): Promise<void> =>
    writeCheckpoint(path, { step, settings, values: tuner.values, states: tuner.states })
  let done = before?.step ?? 0
  let saved = clock.now()
  for (const indices of all.slice(done)) {
    const began = clock.now()
    const examples = indices.flatMap((index) => prepared.trained[index] ?? [])
    const { learningRate: most, schedule: kind } = plan
    const warmup = Math.round(plan.warmup * steps)
    const learningRate = learningRateAt({ kind, learningRate: most, warmup, steps }, done)
    let report: StepReport
    try {
      report = await tuner.step(examples, { learningRate, clip, weightDecay, signal })
    } catch (error) {
      await save(done)
      if (signal.aborted) return finish(options, tuner.values, { done, points, isStopped: true })
      throw toAppError(error)
    }
    done++
    const evalLoss = await evalLossAt(options, tuner, { done, perEpoch })
    const seconds = (clock.now() - began) / 1000
    const news = { ...report, step: done, steps, learningRate, seconds, evalLoss }
    points.push({ step: done, loss: report.loss, evalLoss })
    await log(join(out, LOG), news)
    options.onstep?.(news)
    if (clock.now() - saved > CHECKPOINT_MS) {
      await save(done)
      saved = clock.now()
    }
  }
  await save(done)
  return finish(options, tuner.values, { done, points, isStopped: false })
}

async function evalLossAt(
  { prepared, signal }: TuningOptions,
  tuner: Tuner,
  { done, perEpoch }: { done: number; perEpoch: number }
): Promise<number | undefined> {
  if (prepared.held.length === 0 || done % perEpoch !== 0) return undefined
  return tuner.evaluate(prepared.held, signal)
}

async function finish(
  { plan, out, model, base }: TuningOptions,
  values: TuneValues,
  { done, points, isStopped }: { done: number; points: readonly LossPoint[]; isStopped: boolean }
): Promise<TuningResult> {
  await keepTrained(out, values, { shape: plan.shape, config: model.config, base })
  if (points.length > 0) {
    await replaceFile(join(out, 'loss.svg'), lossChart(points, `${base.name}: loss`))
  }
  return { steps: done, points, isStopped }
}

/** What going on needs to be the same; order of keys is that in which differences are told. */
function settingsOf({ plan, base, dataId }: TuningOptions): Readonly<Record<string, unknown>> {
  return { model: base.id, data: dataId, ...plan }
}

async function log(path: string, news: StepNews): Promise<void> {
  try {
    await appendFile(path, `${JSON.stringify(news)}\n`)
  } catch (cause) {
    throw fileError(`'${path}' cannot be written`, cause)
  }
}

/** What the log says of steps up to `done`; later ones are taken out, since they come again. */
async function loggedPoints(path: string, done: number): Promise<LossPoint[]> {
  const text = done === 0 ? '' : await readFile(path, 'utf8').catch(() => '')
  const lines = text.split('\n').flatMap((line): StepNews[] => {
    try {
      const news = JSON.parse(line) as StepNews
      return news.step <= done ? [news] : []
    } catch {
      return []
    }
  })
  await replaceFile(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  return lines.map(({ step, loss, evalLoss }) => ({ step, loss, evalLoss }))
}
