// Options of generate() as transformers names them, as options of an answer. Knows no model.
import { badInput } from '../base/errors.ts'
import type { LogitsProcessor } from '../client/text/logits.ts'
import type { ChatMessage } from '../model/text/chat-template.ts'
import type { Constraint } from './grammar/constraint.ts'
import { InferenceSession } from './inference-session.ts'
import { messagesOption } from './messages-option.ts'
import {
  booleanOption,
  namedOptions,
  numberOption,
  listOption,
  partOption,
  textOption,
  textsOption,
  wholeOption
} from './named-options.ts'
import type { Streamer } from './streamer.ts'
import type { AnswerOptions } from './text/answer.ts'
import { plainIds, type Ids } from './tokenizer.ts'

/**
 * What generate() takes; camel case is taken too. One of `input_ids`, `text` and `messages` is the
 * prompt.
 */
export interface GenerateInput {
  /** Ids of a prompt, or of several. */
  input_ids?: Ids | readonly Ids[]
  /** A text to continue. */
  text?: string
  /** A conversation, by the model's chat template. */
  messages?: readonly ChatMessage[]
  /** Descriptions of tools, for the template. */
  tools?: readonly object[]
  /** New ids at most. Default: until the model ends or its context is full. */
  max_new_tokens?: number
  /** The prompt's ids with the new ones at most. */
  max_length?: number
  /** Draw ids by chance. Default: true when temperature, top_p, top_k, min_p or seed is given. */
  do_sample?: boolean
  temperature?: number
  top_p?: number
  top_k?: number
  min_p?: number
  repetition_penalty?: number
  /** Texts kept while the likeliest whole text is looked for. Default 1: no beam search. */
  num_beams?: number
  length_penalty?: number
  early_stopping?: boolean
  /** Default 1. */
  num_return_sequences?: number
  /** Texts that end an answer, which does not have them. `stop_strings` is the same. */
  stop?: string | readonly string[]
  stop_strings?: string | readonly string[]
  /** The same seed gives the same ids on every machine. */
  seed?: number
  /** Told ids as they are made; of one prompt and one answer only. */
  streamer?: Streamer
  /** A JSON schema that each answer follows. */
  json_schema?: object | boolean
  /** A regular expression that matches each answer from its first character to its last. */
  regex?: string
  /** Texts of which each answer is one. */
  choices?: readonly string[]
  /** What changes logits before an id is drawn. */
  logits_processor?: readonly LogitsProcessor[]
  /** Ids are added to what the session holds. */
  session?: InferenceSession
  /** In place of those of from_pretrained(); [] for none. `adapter` is the same. */
  adapters?: string | readonly string[]
  adapter?: string | readonly string[]
  /** Guess ids ahead; the text is the same. Default true. */
  speculate?: boolean
  /** Give an object with texts and counts instead of ids alone. */
  return_dict_in_generate?: boolean
  signal?: AbortSignal
}

const NAMES = [
  'input_ids',
  'text',
  'messages',
  'tools',
  'max_new_tokens',
  'max_length',
  'do_sample',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'repetition_penalty',
  'num_beams',
  'length_penalty',
  'early_stopping',
  'num_return_sequences',
  'stop',
  'stop_strings',
  'seed',
  'streamer',
  'json_schema',
  'regex',
  'choices',
  'logits_processor',
  'session',
  'adapters',
  'adapter',
  'speculate',
  'return_dict_in_generate',
  'signal'
] as const

const MOST_BEAMS = 32
const MOST_SEQUENCES = 64
const MOST_TOKENS = 2 ** 31

/** What was asked, checked. */
export interface GenerateRequest {
  readonly prompt:
    | { readonly kind: 'ids'; readonly batch: readonly (readonly number[])[] }
    | { readonly kind: 'text'; readonly text: string }
    | {
        readonly kind: 'messages'
        readonly messages: readonly ChatMessage[]
        readonly tools: readonly object[] | undefined
      }
  readonly maxLength: number | undefined
  readonly beams: number
  readonly lengthPenalty: number
  readonly earlyStopping: boolean
  readonly sequences: number
  readonly streamer: Streamer | undefined
  readonly session: InferenceSession | undefined
  /** Undefined: those of the model. */
  readonly adapters: readonly string[] | undefined
  readonly asObject: boolean
  /** What each answer must be. */
  readonly constraint: Constraint | undefined
  readonly answer: AnswerOptions
}

/** @throws AppError BAD_INPUT for a name or a value that cannot be used */
export function readGenerate(given: object): GenerateRequest {
  const o = namedOptions({ ...given }, NAMES, 'generate()')
  const samples =
    booleanOption('do_sample', o.do_sample) ??
    [o.temperature, o.top_p, o.top_k, o.min_p, o.seed].some((one) => one !== undefined)
  const beams = wholeOption('num_beams', o.num_beams, 1, MOST_BEAMS) ?? 1
  const sequences =
    wholeOption('num_return_sequences', o.num_return_sequences, 1, MOST_SEQUENCES) ?? 1
  const streamer = partOption<Streamer>('streamer', o.streamer, ['put', 'end'])
  const processors = listOption('logits_processor', o.logits_processor).map((one) =>
    partOption<LogitsProcessor>('logits_processor', one, ['process'])
  )
  const session = o.session as InferenceSession | undefined
  if (session !== undefined && !(session instanceof InferenceSession)) {
    throw badInput("'session' is none", { hint: 'Give what model.inference_session() made' })
  }
  if (beams > 1 && samples) {
    throw badInput('Beam search draws nothing by chance', { hint: 'Leave do_sample out' })
  }
  if (beams > 1 && sequences > beams) {
    throw badInput(`${beams} beams cannot give ${sequences} texts`, {
      hint: 'Give a num_return_sequences of at most num_beams'
    })
  }
  if (beams > 1) refuseBesideBeams(o)
  if (beams > 1 && (streamer || session)) {
    throw badInput('Beam search has no text before its end', {
      hint: 'Leave streamer and session out'
    })
  }
  if (sequences > 1 && !samples && beams === 1) {
    throw badInput('Several texts without do_sample or num_beams would be the same one')
  }
  const maxTokens = wholeOption('max_new_tokens', o.max_new_tokens, 0, MOST_TOKENS)
  const seed = wholeOption('seed', o.seed, 0, Number.MAX_SAFE_INTEGER)
  const penalty = numberOption('repetition_penalty', o.repetition_penalty, 0.01, 100)
  const speculate = booleanOption('speculate', o.speculate)
  const topK = wholeOption('top_k', o.top_k, 0, MOST_TOKENS)
  const topP = numberOption('top_p', o.top_p, 0, 1)
  const minP = numberOption('min_p', o.min_p, 0, 1)
  return {
    prompt: promptOf(o, session),
    constraint: constraintOf(o),
    maxLength: wholeOption('max_length', o.max_length, 1, MOST_TOKENS),
    beams,
    lengthPenalty: numberOption('length_penalty', o.length_penalty, -10, 10) ?? 1,
    earlyStopping: booleanOption('early_stopping', o.early_stopping) ?? false,
    sequences,
    streamer,
    session,
    adapters: adaptersOf(o, session),
    asObject: booleanOption('return_dict_in_generate', o.return_dict_in_generate) ?? false,
    answer: {
      temperature: samples ? (numberOption('temperature', o.temperature, 0, 100) ?? 1) : 0,
      ...(topP === undefined ? {} : { topP }),
      ...(topK === undefined ? {} : { topK }),
      ...(minP === undefined ? {} : { minP }),
      ...(penalty === undefined ? {} : { repetitionPenalty: penalty }),
      ...(seed === undefined ? {} : { seed }),
      ...(speculate === undefined ? {} : { speculate }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      stop: [...textsOption('stop', o.stop), ...textsOption('stop_strings', o.stop_strings)],
      processors: processors.filter((one) => one !== undefined),
      signal: partOption<AbortSignal>('signal', o.signal, ['addEventListener', 'throwIfAborted'])
    }
  }
}

/** What beam search does not look at, and would pass over. @throws AppError BAD_INPUT */
function refuseBesideBeams(o: Partial<Record<(typeof NAMES)[number], unknown>>): void {
  const names = ['stop', 'stop_strings', 'repetition_penalty', 'logits_processor'] as const
  const given = names.find((name) => o[name] !== undefined)
  if (given === undefined) return
  throw badInput(`Beam search takes no '${given}'`, { hint: `Leave ${given} or num_beams out` })
}

function promptOf(
  o: Partial<Record<'input_ids' | 'text' | 'messages' | 'tools', unknown>>,
  session: InferenceSession | undefined
): GenerateRequest['prompt'] {
  const given = [o.input_ids, o.text, o.messages].filter((one) => one !== undefined).length
  if (given > 1 || (given === 0 && !session)) {
    throw badInput('generate() needs one prompt', {
      hint: 'Give input_ids, text or messages'
    })
  }
  const text = textOption('text', o.text)
  if (text !== undefined) return { kind: 'text', text }
  if (o.messages !== undefined) {
    return {
      kind: 'messages',
      messages: messagesOption(o.messages),
      tools: o.tools as readonly object[] | undefined
    }
  }
  return { kind: 'ids', batch: batchOf(o.input_ids) }
}

function adaptersOf(
  { adapters, adapter }: { readonly adapters?: unknown; readonly adapter?: unknown },
  session: InferenceSession | undefined
): readonly string[] | undefined {
  if (adapters === undefined && adapter === undefined) return undefined
  if (session !== undefined) {
    throw badInput('A session runs with the adapters that it began with', {
      hint: 'Leave adapter out, or session'
    })
  }
  return [...textsOption('adapters', adapters), ...textsOption('adapter', adapter)]
}

function constraintOf(
  o: Partial<Record<'json_schema' | 'regex' | 'choices' | 'num_beams', unknown>>
): Constraint | undefined {
  const { json_schema: schema } = o
  const pattern = textOption('regex', o.regex)
  const choices = textsOption('choices', o.choices)
  const found: Constraint[] = [
    ...(schema === undefined ? [] : [{ kind: 'schema', schema } as const]),
    ...(pattern === undefined ? [] : [{ kind: 'regex', pattern } as const]),
    ...(choices.length === 0 ? [] : [{ kind: 'choice', choices } as const])
  ]
  if (found.length > 1) throw badInput('An answer can be held to one form only')
  if (found.length > 0 && o.num_beams !== undefined && o.num_beams !== 1) {
    throw badInput('Beam search holds its texts to no form', { hint: 'Leave num_beams out' })
  }
  return found[0]
}

/** One prompt, or several; none is one without ids, for a session that goes on. */
function batchOf(ids: unknown): number[][] {
  if (ids === undefined) return [[]]
  const isList = Array.isArray(ids) || ArrayBuffer.isView(ids)
  if (!isList) throw badInput("'input_ids' must be a list of ids, or a list of lists")
  const list = ids as ArrayLike<unknown>
  const isBatch = list.length > 0 && typeof list[0] === 'object'
  const batch = (isBatch ? Array.from(list) : [ids]) as Ids[]
  return batch.map((one) => {
    const plain = plainIds(one)
    if (plain.every((id) => Number.isInteger(id) && id >= 0)) return plain
    throw badInput("'input_ids' must hold whole numbers from 0 on")
  })
}
