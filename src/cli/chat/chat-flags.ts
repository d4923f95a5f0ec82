// What chat's flags mean, and which of them exclude each other: no flag is silently ignored.
import { badInput } from '../../base/errors.ts'
import { typedName } from '../command.ts'
import type { EngineOptions } from '../engine.ts'
import type { WireDtype } from '../../wire/types.ts'
import { parseChoice, parseNumber, parseWhole } from '../options.ts'
import type { ManifestFlags, PeerFlags } from '../peer-weights.ts'
import type { SwarmOptions } from '../../library/open/membership.ts'
import {
  resolveSampling,
  samplingRange,
  type SamplingOptions
} from '../../library/text/sampling.ts'
import { checkPrefixFlags, type PrefixFlags } from './prefix-flags.ts'

export interface ChatFlags
  extends EngineOptions, SwarmOptions, PeerFlags, ManifestFlags, PrefixFlags {
  maxTokens?: string | undefined
  temperature?: string | undefined
  topP?: string | undefined
  topK?: string | undefined
  minP?: string | undefined
  repetitionPenalty?: string | undefined
  seed?: string | undefined
  strict?: boolean | undefined
  json?: boolean | undefined
  extract?: boolean | undefined
  schema?: string | undefined
  jsonl?: boolean | undefined
  parallel?: string | undefined
  out?: string | undefined
  promptTemplate?: string | undefined
  file?: readonly string[] | undefined
  stats?: boolean | undefined
  trace?: boolean | undefined
  wire?: string | undefined
  here?: string | undefined
  head?: string | undefined
  session?: string | undefined
  continue?: boolean | undefined
  /** False with --no-speculate. */
  speculate?: boolean | undefined
  draft?: string | undefined
  chatTemplate?: string | undefined
  adapter?: readonly string[] | undefined
}

/** How answers are generated. */
export interface Request extends SamplingOptions {
  maxTokens?: number
  speculate: boolean
}

/** Options that an interrupted answer keeps until its end. */
const OF_THE_BEGINNING = [
  'maxTokens',
  'temperature',
  'topP',
  'topK',
  'minP',
  'repetitionPenalty',
  'seed',
  'system',
  'raw',
  'chatTemplate',
  'schema',
  'file',
  'promptTemplate',
  'share',
  'sharedBy'
] as const satisfies readonly (keyof ChatFlags)[]

/** Type in which activations travel. @throws AppError BAD_INPUT */
export function wireOf(flags: ChatFlags): WireDtype | undefined {
  return parseChoice<WireDtype>('wire', flags.wire, ['f32', 'f16', 'bf16', 'int8'])
}

/** How exact the head is. @throws AppError BAD_INPUT */
export function headOf(flags: ChatFlags): 'native' | 'f32' | undefined {
  return parseChoice('head', flags.head, ['native', 'f32'])
}

/**
 * Who guesses tokens, as SessionWishes has it: --draft, or a model of the cache where it pays.
 * @throws AppError BAD_INPUT
 */
export function draftOf({
  draft,
  speculate
}: Pick<ChatFlags, 'draft' | 'speculate'>): string | false {
  if (speculate !== false) return draft ?? 'auto'
  if (draft === undefined || draft === 'none') return false
  throw badInput('--draft and --no-speculate exclude each other', {
    hint: 'Leave one of them out'
  })
}

/** @throws AppError BAD_INPUT if flags contradict each other or the words */
export function checkChatFlags(flags: ChatFlags, words: string | undefined): void {
  checkPrefixFlags(flags)
  draftOf(flags)
  wireOf(flags)
  headOf(flags)
  if (flags.session === '') {
    throw badInput("--session cannot be ''", { hint: 'Name a file to keep the conversation in' })
  }
  if (flags.raw === true && flags.system !== undefined) {
    throw badInput('--raw gives the prompt as it is: --system cannot stand before it', {
      hint: 'Leave one of them out, or write the instructions into the prompt'
    })
  }
  if (flags.raw === true && flags.chatTemplate !== undefined) {
    throw badInput('--raw gives the prompt as it is: it has no use for --chat-template', {
      hint: 'Leave one of them out'
    })
  }
  if (flags.promptTemplate !== undefined && flags.file !== undefined) {
    throw badInput('--file cannot stand beside --prompt-template', {
      hint: 'Give the text through stdin: the template has it as {{input}}'
    })
  }
  if (flags.schema !== undefined && flags.extract === true) {
    throw badInput('--extract has nothing to take out of an answer that is JSON alone', {
      hint: 'Leave --extract out'
    })
  }
  if (flags.jsonl === true) checkBatch(flags, words)
  else {
    const alone = (['parallel', 'out'] as const).find((key) => flags[key] !== undefined)
    if (alone !== undefined) {
      throw badInput(`--${alone} is of --jsonl`, { hint: `Leave it out, or give --jsonl` })
    }
  }
  if (flags.continue !== true) return
  if (flags.session === undefined || words !== undefined) {
    throw badInput(
      '--continue goes on with the answer that --session FILE keeps, without a prompt',
      { hint: 'Give --session FILE, and no prompt' }
    )
  }
  const given = OF_THE_BEGINNING.find((key) => flags[key] !== undefined)
  if (given !== undefined) {
    throw badInput(
      `--continue goes on with an answer as it began: --${typedName(given)} cannot be changed`,
      { hint: `Leave out --${typedName(given)}, or ask anew` }
    )
  }
}

/** What a batch has no use for. */
const NOT_OF_BATCHES = [
  'continue',
  'session',
  'file',
  'forget',
  'share',
  'sharedBy',
  'draft',
  'trace'
] as const satisfies readonly (keyof ChatFlags)[]

/** @throws AppError BAD_INPUT */
function checkBatch(flags: ChatFlags, words: string | undefined): void {
  if (words !== undefined) {
    throw badInput('--jsonl takes prompts from stdin, a line each', {
      hint: 'Leave the prompt out; what all have in common goes into --prompt-template or --system'
    })
  }
  const given = NOT_OF_BATCHES.find((key) => flags[key] !== undefined)
  if (given === undefined) return
  throw badInput(`--${typedName(given)} cannot stand beside --jsonl`, {
    hint: `Leave out --${typedName(given)}`
  })
}

export type NumberKey = Exclude<keyof SamplingOptions, 'repetitionWindow'>

export const NUMBERS: readonly NumberKey[] = [
  'temperature',
  'topP',
  'topK',
  'minP',
  'repetitionPenalty',
  'seed'
]

/** @throws AppError BAD_INPUT */
export function readRequest(flags: ChatFlags): Request {
  const request: Request = { speculate: flags.speculate !== false }
  const maxTokens = parseWhole('max-tokens', flags.maxTokens, 1, 10_000_000)
  if (maxTokens !== undefined) request.maxTokens = maxTokens
  for (const key of NUMBERS) {
    const value = parseNumber(typedName(key), flags[key], samplingRange(key))
    if (value !== undefined) request[key] = value
  }
  resolveSampling(request)
  return request
}
