// Options of train(): what is trained, and how it travels.
import type { ModelConfig } from '../../model/types.ts'
import { chooseShape, METHODS, MOST_POSITIONS } from '../../tune/choose-shape.ts'
import type { TuneMethod, TuneShape } from '../../tune/parameters.ts'
import { MOST_RANK } from '../../blocks/train/adapter-shape.ts'
import {
  booleanOption,
  choiceOption,
  namedOptions,
  numberOption,
  textsOption,
  wholeOption
} from '../named-options.ts'

/** Camel case is taken too. */
export interface TrainOptions {
  /** 'lora' (default), 'prompt' or 'deep-prompt'. */
  method?: TuneMethod
  /** Of lora's matrices, 1 to 256. Default 8. */
  rank?: number
  /** They count alpha / rank. Default 2 * rank. */
  alpha?: number
  /** They count alpha / sqrt(rank), as rsLoRA has it. Default false. */
  use_rslora?: boolean
  /** Share of the values that lora leaves out by chance in learn(). Default 0. */
  dropout?: number
  /** Matrices that lora adds to, e.g. 'q_proj'. Default: all. */
  targets?: string | readonly string[]
  /** Rows of a prompt. Default 16. */
  positions?: number
  /** The same seed begins with the same numbers. Default 0. */
  seed?: number
  /** Tokens that travel together. Default 512. */
  rows?: number
  /** Such parts under way together, so that every server has work. Default 8. */
  parallel?: number
  /** Ends what is under way. */
  signal?: AbortSignal
}

const NAMES = [
  'method',
  'rank',
  'alpha',
  'use_rslora',
  'dropout',
  'targets',
  'positions',
  'seed',
  'rows',
  'parallel',
  'signal'
] as const

export interface TrainRequest {
  readonly shape: TuneShape
  readonly seed: number
  readonly microRows: number | undefined
  readonly parallel: number | undefined
  readonly signal: AbortSignal
}

/** @throws AppError BAD_INPUT */
export function readTrain(config: ModelConfig, given: object): TrainRequest {
  const o = namedOptions({ ...given }, NAMES, 'train()')
  const targets = textsOption('targets', o.targets)
  return {
    shape: chooseShape(config, {
      method: choiceOption('method', o.method, METHODS),
      rank: wholeOption('rank', o.rank, 1, MOST_RANK),
      alpha: numberOption('alpha', o.alpha, 0, 1e6),
      isRankStable: booleanOption('use_rslora', o.use_rslora),
      dropout: numberOption('dropout', o.dropout, 0, 0.99),
      targets: targets.length === 0 ? undefined : targets,
      positions: wholeOption('positions', o.positions, 1, MOST_POSITIONS)
    }),
    seed: wholeOption('seed', o.seed, 0, 2 ** 31 - 1) ?? 0,
    microRows: wholeOption('rows', o.rows, 1, 4096),
    parallel: wholeOption('parallel', o.parallel, 1, 64),
    signal: (o.signal as AbortSignal | undefined) ?? new AbortController().signal
  }
}
