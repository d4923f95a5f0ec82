// A model whose blocks the swarm computes, by the names that transformers and Petals give its
// parts.
import { badInput } from '../base/errors.ts'
import { Resource } from '../base/resource.ts'
import type { RouteHop } from '../client/route/route.ts'
import { commonPrefix, type Generator } from '../client/text/generate.ts'
import type { LogitsProcessor } from '../client/text/logits.ts'
import { encodeChat } from '../model/text/chat-ids.ts'
import { beamSearch } from './beam-search.ts'
import { readGenerate, type GenerateInput, type GenerateRequest } from './generate-options.ts'
import { InferenceSession, type SavedSession } from './inference-session.ts'
import { namedOptions, wholeOption, type EitherCase } from './named-options.ts'
import { Petals } from './petals.ts'
import { PRETRAINED_NAMES, readPretrained, type PretrainedOptions } from './pretrained-options.ts'
import { answer, type AnswerEnd } from './text/answer.ts'
import { together } from './text/together.ts'
import type { Borrowed, Lender, TextModel } from './text/text-model.ts'
import { openTraining } from './training/open-training.ts'
import type { TrainOptions } from './training/train-options.ts'
import type { Training } from './training/training.ts'
import { plainIds, pretrainedTokenizer, type Ids, type PretrainedTokenizer } from './tokenizer.ts'

/** What generate() gives with `return_dict_in_generate`. */
export interface GenerateOutput {
  /** Prompt and new ids of each text; an id that ended it is the last. */
  readonly sequences: number[][]
  /** New text of each. */
  readonly texts: string[]
  /** 'stop': the model or a stop text ended it; 'length': a limit was reached. */
  readonly finish_reasons: ('stop' | 'length')[]
  /** Of beam search: mean log probabilities by the length penalty. */
  readonly sequences_scores?: number[]
  readonly usage: {
    readonly prompt_tokens: number
    readonly cached_tokens: number
    readonly completion_tokens: number
  }
  /** Which servers computed the last text. */
  readonly route: readonly RouteHop[]
}

/** One of several texts behind the same prompt. */
interface Sequence {
  readonly index: number
  readonly onbegun?: () => void
  /** Ends it when another failed. */
  readonly ending?: AbortSignal
}

interface Made {
  readonly sequence: number[]
  readonly text: string
  readonly end: Pick<AnswerEnd, 'finish' | 'promptTokens' | 'cachedTokens' | 'newTokens' | 'route'>
  readonly score?: number
}

/** Options of from_pretrained(), generate() and the rest come in snake_case or camelCase. */
export class AutoDistributedModelForCausalLM extends Resource {
  /** Encodes and decodes for this model. */
  readonly tokenizer: PretrainedTokenizer
  readonly #model: TextModel
  readonly #onclose: () => Promise<void>
  readonly #plain: TextModel
  /** The model with other adapters, by their names. */
  readonly #adapted = new Map<string, Promise<TextModel>>()

  /**
   * Opens a model of the swarm by an alias, owner/name or a file; close() or `await using` ends it.
   * @throws AppError BAD_INPUT for an unknown option, NOT_FOUND, NO_ROUTE when nobody serves it
   */
  static async from_pretrained(
    name: string,
    options: EitherCase<PretrainedOptions> = {}
  ): Promise<AutoDistributedModelForCausalLM> {
    if (typeof name !== 'string') throw badInput('A model is named by a text')
    const { surroundings, petals: petalsOptions, adapters } = await readPretrained(options)
    const petals = new Petals(surroundings, petalsOptions)
    try {
      await petals.ready()
      const plain = await petals.openModel(name)
      await plain.ready()
      const model = adapters.length === 0 ? plain : await plain.withAdapters(name, adapters)
      return new AutoDistributedModelForCausalLM(
        model,
        async () => {
          if (model !== plain) await model.close()
          await plain.close()
          await petals.close()
        },
        plain
      )
    } catch (error) {
      await petals.close()
      throw error
    }
  }

  /**
   * @param onclose closes the model, and what it stands on
   * @param plain the model without its adapters
   */
  constructor(
    model: TextModel,
    onclose: () => Promise<void> = () => model.close(),
    plain: TextModel = model
  ) {
    super()
    this.#model = model
    this.#onclose = onclose
    this.#plain = plain
    const { local } = model
    this.tokenizer = pretrainedTokenizer(local.model, local.tokenizer)
  }

  /** Facts of the model. */
  get config(): TextModel['local']['config'] {
    return this.#model.local.config
  }

  /** The model without its names for programs, as the API uses it. */
  get text_model(): TextModel {
    return this.#model
  }

  /**
   * Continues prompts. Gives prompt and new ids of each text, or with `return_dict_in_generate` an
   * object with texts and counts.
   * @throws AppError BAD_INPUT, or what the swarm throws
   */
  generate(
    options: EitherCase<GenerateInput> & { return_dict_in_generate: true }
  ): Promise<GenerateOutput>
  generate(options: EitherCase<GenerateInput>): Promise<number[][]>
  async generate(options: object): Promise<number[][] | GenerateOutput> {
    const request = readGenerate(options)
    const prompts = this.#prompts(request)
    if (request.streamer && (prompts.length > 1 || request.sequences > 1)) {
      throw badInput('A streamer hears one text: give one prompt and ask for one answer')
    }
    const made = (
      await Promise.all(prompts.map((prompt) => this.#continue(prompt, request)))
    ).flat()
    return request.asObject ? outputOf(made) : made.map(({ sequence }) => sequence)
  }

  /**
   * Pieces of one answer as they become certain: `for await (const text of model.stream(...))`.
   * @returns why it ended and what it took
   */
  async *stream(options: EitherCase<GenerateInput>): AsyncGenerator<string, AnswerEnd> {
    const request = readGenerate(options)
    const [prompt, ...others] = this.#prompts(request)
    if (prompt === undefined || others.length > 0 || request.sequences > 1 || request.beams > 1) {
      throw badInput('stream() gives one answer to one prompt')
    }
    const lender = await this.#lender(request)
    const pieces = answer(lender, prompt, this.#limited(request, prompt))
    for (;;) {
      const step = await pieces.next()
      if (step.done) return step.value
      yield step.value.text
    }
  }

  /**
   * Logits behind each id, (vocabSize) each: the last row says what comes next.
   * @throws AppError BAD_INPUT
   */
  async forward(
    ids: Ids,
    options: { signal?: AbortSignal } = {}
  ): Promise<{ readonly logits: Float32Array[] }> {
    const plain = plainIds(ids)
    await using borrowed = await this.#model.borrow(plain, options)
    const { signal } = options
    const rows = plain.length
    return { logits: await borrowed.generator.logits(plain, { rows, signal }) }
  }

  /**
   * A session to step oneself; close() or `await using` ends it. `max_length`: ids at most;
   * `resume`: what save() of an earlier one gave.
   */
  inference_session(options: object = {}): InferenceSession {
    const named = namedOptions({ ...options }, ['max_length', 'resume'], 'inference_session()')
    return new InferenceSession(this.#model, {
      maxLength: wholeOption('max_length', named.max_length, 1, 2 ** 31),
      resume: named.resume as SavedSession | undefined
    })
  }

  /**
   * Begins to train an adapter or a prompt for this model, over the servers that compute it; the
   * program has the loop. Close it, or `using` does, before the model.
   * @throws AppError BAD_INPUT, UNSUPPORTED, DENIED when an invite does not permit it
   */
  train(options: EitherCase<TrainOptions> = {}): Training {
    return openTraining(this.#model, options)
  }

  /** The same in camel case. */
  inferenceSession(options: object = {}): InferenceSession {
    return this.inference_session(options)
  }

  #prompts(request: GenerateRequest): readonly (readonly number[])[] {
    const { prompt, session } = request
    const held = session?.ids ?? []
    const { local } = this.#model
    const { contextLength: maxTokens } = local.config
    switch (prompt.kind) {
      case 'ids':
        return prompt.batch.map((ids) => [...held, ...ids])
      case 'text': {
        const addSpecial = held.length === 0
        const special = { addSpecial, parseSpecial: true, maxTokens }
        return [[...held, ...local.tokenizer.encode(prompt.text, special)]]
      }
      case 'messages': {
        const tools = prompt.tools ? { tools: prompt.tools } : {}
        return [[...held, ...encodeChat(local.model, local.tokenizer, prompt.messages, tools)]]
      }
      default:
        throw new TypeError('No such prompt')
    }
  }

  async #lender({ session, adapters }: GenerateRequest): Promise<Lender> {
    if (session !== undefined || adapters === undefined) return session ?? this.#model
    return adapters.length === 0 ? this.#plain : this.#with(adapters)
  }

  /** The model with adapters, opened once. */
  #with(adapters: readonly string[]): Promise<TextModel> {
    const key = adapters.join('\n')
    const opening = this.#adapted.get(key) ?? this.#plain.withAdapters(this.#plain.id, adapters)
    this.#adapted.set(key, opening)
    opening.catch(() => this.#adapted.delete(key))
    return opening
  }

  /** Options of an answer behind a prompt of this length. */
  #limited(request: GenerateRequest, prompt: readonly number[]): GenerateRequest['answer'] {
    const { answer, constraint, session } = request
    const held = constraint ? [this.#model.constraints.compile(constraint).processor()] : []
    const options = { ...answer, processors: [...(answer.processors ?? []), ...held] }
    session?.checkRoom(prompt.length - session.position)
    const maxLength = Math.min(request.maxLength ?? Infinity, session?.maxLength ?? Infinity)
    if (maxLength === Infinity) return options
    const maxTokens = Math.min(
      options.maxTokens ?? Infinity,
      Math.max(0, maxLength - prompt.length)
    )
    return { ...options, maxTokens }
  }

  async #continue(prompt: readonly number[], request: GenerateRequest): Promise<Made[]> {
    if (request.beams > 1) return this.#beams(prompt, request)
    if (request.session) return [await this.#one(prompt, request, { index: 0 })]
    const failing = new AbortController()
    try {
      return await together(request.sequences, (index, onbegun) =>
        this.#one(prompt, request, { index, onbegun, ending: failing.signal })
      )
    } catch (error) {
      // Nobody waits for the others.
      failing.abort()
      throw error
    }
  }

  async #one(
    prompt: readonly number[],
    request: GenerateRequest,
    { index, onbegun, ending }: Sequence
  ): Promise<Made> {
    const { streamer, session } = request
    const { signal, ...options } = this.#limited(request, prompt)
    const signals = [signal, ending].filter((one) => one !== undefined)
    const ids: number[] = []
    const listener: LogitsProcessor = {
      process: (logits) => logits,
      drew(id) {
        ids.push(id)
        streamer?.put([id])
      }
    }
    streamer?.put(prompt)
    const { seed } = options
    const pieces = answer(await this.#lender(request), prompt, {
      ...options,
      ...(seed === undefined ? {} : { seed: seed + index }),
      ...(signals.length > 0 ? { signal: AbortSignal.any(signals) } : {}),
      onbegun,
      processors: [...(options.processors ?? []), listener]
    })
    let text = ''
    for (;;) {
      const step = await pieces.next()
      if (step.done) {
        streamer?.end()
        session?.keep([...prompt, ...ids])
        return { sequence: [...prompt, ...ids], text, end: step.value }
      }
      text += step.value.text
    }
  }

  async #beams(prompt: readonly number[], request: GenerateRequest): Promise<Made[]> {
    const { beams, lengthPenalty, earlyStopping, sequences } = request
    const { local } = this.#model
    const options = this.#limited(request, prompt)
    const room = local.config.contextLength - prompt.length
    await using stack = new AsyncDisposableStack()
    const lender = await this.#lender(request)
    const lent: Borrowed[] = []
    for (let i = 0; i < beams; i++) {
      lent.push(stack.use(await lender.borrow(prompt, { signal: options.signal })))
    }
    const found = await beamSearch(prompt, {
      beams,
      maxTokens: Math.min(options.maxTokens ?? room, room),
      eosIds: local.eosIds,
      lengthPenalty,
      earlyStopping,
      texts: sequences,
      logits: (texts) => followingLogits(texts, lent, options.signal)
    })
    return found.map(({ ids, score, ended }) => ({
      sequence: [...prompt, ...ids],
      text: local.tokenizer.decode(ended ? ids.slice(0, -1) : ids),
      score,
      end: {
        finish: ended ? 'stop' : 'length',
        promptTokens: prompt.length,
        cachedTokens: 0,
        newTokens: ids.length,
        route: lent[0]?.route() ?? []
      }
    }))
  }

  protected override async _open(): Promise<void> {
    await this.#model.ready()
  }

  protected override async _close(): Promise<void> {
    const adapted = await Promise.allSettled(this.#adapted.values())
    for (const one of adapted) if (one.status === 'fulfilled') await one.value.close()
    await this.#onclose()
  }
}

/** Each text by the session that holds most of it, one text each, all at once. */
function followingLogits(
  texts: readonly (readonly number[])[],
  lent: readonly { readonly generator: Generator }[],
  signal: AbortSignal | undefined
): Promise<Float32Array[]> {
  const free = lent.map(({ generator }) => generator)
  const rows = texts.map(async (text) => {
    let best = 0
    for (const [i, generator] of free.entries()) {
      if (commonPrefix(generator.fed, text) > commonPrefix(free[best]?.fed ?? [], text)) best = i
    }
    const [generator] = free.splice(best, 1)
    const [row] = (await generator?.logits(text, { signal })) ?? []
    if (row === undefined) throw new TypeError('There are more texts than sessions')
    return row
  })
  return Promise.all(rows)
}

function outputOf(made: readonly Made[]): GenerateOutput {
  const sum = (count: (one: Made) => number): number =>
    made.reduce((total, one) => total + count(one), 0)
  const scores = made.flatMap(({ score }) => (score === undefined ? [] : [score]))
  return {
    sequences: made.map(({ sequence }) => sequence),
    texts: made.map(({ text }) => text),
    finish_reasons: made.map(({ end }) => end.finish),
    ...(scores.length > 0 ? { sequences_scores: scores } : {}),
    usage: {
      prompt_tokens: sum(({ end }) => end.promptTokens),
      cached_tokens: sum(({ end }) => end.cachedTokens),
      completion_tokens: sum(({ end }) => end.newTokens)
    },
    route: made.at(-1)?.end.route ?? []
  }
}

/** The names that from_pretrained() takes. */
export const FROM_PRETRAINED_OPTIONS: readonly string[] = PRETRAINED_NAMES
