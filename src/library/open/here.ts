// --here: which blocks this process computes itself, and what is said of it.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { noProgress, type Progress } from '../../base/progress.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { LocalBlocks, type HerePlan } from '../../here/local-blocks.ts'
import type { Model } from '../../model/types.ts'
import { transferLine } from './transfer-line.ts'

/** 'none': every block is computed by servers. */
export type HereChoice = HerePlan | 'none'

export interface OpenHereOptions {
  compute: ComputeApi
  model: Model
  /** As it was typed. */
  name: string
  log: Log
  signal: AbortSignal | undefined
  /** Shows transfers. Default: nothing. */
  progress?: Progress | undefined
}

/** @param given of --here. Default 'auto'. @throws AppError BAD_INPUT */
export function parseHere(given: string | undefined): HereChoice {
  if (given === undefined) return 'auto'
  if (given === 'all' || given === 'auto' || given === 'none') return given
  const match = /^(\d{1,6}):(\d{1,6})$/.exec(given)
  const [start, end] = [Number(match?.[1]), Number(match?.[2])]
  if (match && start < end) return { start, end }
  throw badInput(`--here cannot be '${given}'`, {
    hint: 'Give all, none, auto, or blocks: --here 0:2 computes blocks 0 and 1 here'
  })
}

/**
 * Blocks that this process computes; the caller closes it, behind the client. Undefined: none.
 * @throws AppError BAD_INPUT for blocks that the model does not have
 */
export function openHere(choice: HereChoice, options: OpenHereOptions): LocalBlocks | undefined {
  const { compute, model, name, log, signal, progress = noProgress } = options
  if (choice === 'none') return undefined
  const { blockCount } = model.config
  if (typeof choice === 'object' && choice.end > blockCount) {
    throw badInput(`--here ${textOf(choice)} cannot be used: ${name} has ${blockCount} blocks`, {
      hint: `Give blocks of 0:${blockCount}`
    })
  }
  return new LocalBlocks({
    compute,
    model,
    plan: choice,
    log,
    signal,
    onstage: (stage) => progress.stage(`${name}: ${stage}`),
    onfetch: transferLine(progress, name),
    onchange(spans) {
      progress.done()
      const rest = restOf(choice, spans, blockCount)
      log.info(`blocks ${spans.map(textOf).join(' and ')} of ${name} run here: ${rest}`)
    }
  })
}

/** What becomes of the other blocks, or of these when others serve them better. */
function restOf(choice: HerePlan, spans: readonly BlockSpan[], blockCount: number): string {
  if (choice === 'all') return 'nothing leaves this machine'
  const isWhole = spans.some(({ start, end }) => start === 0 && end === blockCount)
  if (!isWhole) return 'servers compute the others'
  return choice === 'auto'
    ? 'servers take over where they are faster'
    : 'no server is asked for any'
}

function textOf({ start, end }: BlockSpan): string {
  return `${start}:${end}`
}
