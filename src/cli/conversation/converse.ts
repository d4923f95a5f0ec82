// A conversation on a terminal: lines in, answers out, commands that start with a slash. Only the
// answers go to `answers`; everything else is shown on `screen`. Knows no swarm and no keys.
import { type AppError, badInput, cancelled, toAppError } from '../../base/errors.ts'
import { terminalText } from '../../base/terminal-text.ts'
import type { Clock } from '../../base/clock.ts'
import type { ChatMessage } from '../../model/text/chat-template.ts'
import { errorText } from '../exit.ts'
import type { LineSource } from '../terminal/line-source.ts'
import { startSpinner } from '../terminal/spinner.ts'
import type { Style } from '../terminal/style.ts'
import { WordWrap } from '../terminal/word-wrap.ts'
import { parseSlash, slashHelp } from './slash.ts'

/** What an answer calls while it is generated. */
export interface Answering {
  write(text: string): Promise<void>
  signal: AbortSignal
  /** How much of the prompt has been computed, in tokens. */
  onprompt(done: number, total: number): void
}

/** The chat behind the conversation. */
export interface Talk {
  /** As typed. */
  readonly model: string
  /** Describes the model and its servers, one line each. */
  about(): Promise<string[]>
  ask(question: string, answering: Answering): Promise<void>
  /** The question whose answer was interrupted. */
  unfinished(): string | undefined
  /** Writes that answer in full, from its first word. */
  goOn(answering: Answering): Promise<void>
  messages(): readonly ChatMessage[]
  reset(): void
  /** Removes the last exchange; returns its question. */
  undo(): string | undefined
  setSystem(text: string): void
  /** @throws AppError BAD_INPUT */
  set(name: string, value: string): void
  settings(): string[]
  save(path: string): Promise<void>
  load(path: string): Promise<void>
  /** Saves a change that did not come from an answer, if there is a file. */
  keep(): Promise<void>
}

/** Where text is shown. */
export interface TextOutput {
  write(text: string): unknown
  /** Whether the cursor can be moved. */
  readonly hasCursor: boolean
  columns(): number
}

export interface ConverseOptions {
  talk: Talk
  lines: LineSource
  screen: TextOutput
  answers: TextOutput
  style: Style
  /** Ends the conversation: SIGTERM, or a Ctrl-C from before it began. */
  signal: AbortSignal
  /** Returns and clears what is to be said about the last answer, one line each. */
  notes: () => string[]
  /** Called with each question. */
  onquestion?: (question: string) => Promise<void>
  clock?: Clock
}

/** Why a conversation ended: the user left, or continues with another model. */
export type Leaving = { readonly kind: 'left' } | { readonly kind: 'model'; readonly name: string }

/** How many exchanges of a resumed conversation are shown, and how much of each. */
const SHOWN_TURNS = 2
const SHOWN_LENGTH = 2000
/** A shorter prompt takes too little time to show progress. */
const LONG_PROMPT = 256
const LEAVE_HINT = 'Ctrl-C again leaves, as Ctrl-D and /bye do'

/** @throws AppError CANCELLED when the signal fires */
export async function converse(options: ConverseOptions): Promise<Leaving> {
  if (options.signal.aborted) throw cancelled('The conversation was ended')
  return await new Conversation(options).run()
}

class Conversation {
  readonly #options: ConverseOptions
  readonly #talk: Talk

  constructor(options: ConverseOptions) {
    this.#options = options
    this.#talk = options.talk
  }

  async run(): Promise<Leaving> {
    const { lines, signal } = this.#options
    for (const line of await this.#talk.about()) this.#tell(line)
    this.#tell('/help lists commands')
    this.#showPast()
    if (this.#talk.unfinished() !== undefined) await this.#goOn()
    for (let isLeaving = false; ;) {
      for (const note of this.#options.notes()) this.#tell(note)
      const read = await lines.read(signal)
      if (read.kind === 'end' || (read.kind === 'interrupt' && isLeaving)) return { kind: 'left' }
      isLeaving = read.kind === 'interrupt'
      if (read.kind === 'interrupt') this.#tell(LEAVE_HINT)
      else {
        const leaving = await this.#take(read.text, read.isPasted)
        if (leaving) return leaving
      }
    }
  }

  async #take(line: string, isPasted: boolean): Promise<Leaving | undefined> {
    const slash = isPasted ? undefined : parseSlash(line)
    try {
      if (slash?.kind === 'command') return await this.#command(slash.name, slash.argument)
      if (slash) {
        const meant = slash.near === undefined ? '/help lists commands' : `/${slash.near}?`
        throw badInput(`There is no command /${slash.name}`, {
          hint: `${meant}; a question that begins so stands behind a space`
        })
      }
      const question = line.trim()
      if (question !== '') await this.#ask(question)
    } catch (thrown) {
      const error = toAppError(thrown)
      if (this.#options.signal.aborted) throw cancelled('The conversation was ended')
      const text = errorText(error, { model: this.#talk.model })
      this.#options.screen.write(`${this.#wrapped(text)}\n`)
    }
    return undefined
  }

  async #command(name: string, argument: string): Promise<Leaving | undefined> {
    const talk = this.#talk
    switch (name) {
      case 'bye':
        return { kind: 'left' }
      case 'help':
        this.#options.screen.write(`${slashHelp()}\n`)
        return undefined
      case 'new':
        talk.reset()
        await talk.keep()
        this.#tell('a new conversation')
        return undefined
      case 'retry':
        await this.#retry()
        return undefined
      case 'undo':
        await this.#undo()
        return undefined
      case 'continue':
        if (talk.unfinished() === undefined) this.#tell('there is nothing to go on with')
        else await this.#goOn()
        return undefined
      case 'system':
        await this.#system(argument)
        return undefined
      case 'set':
        this.#set(argument)
        return undefined
      case 'show':
        for (const line of [...(await talk.about()), ...talk.settings()]) this.#tell(line)
        return undefined
      case 'save':
        await talk.save(needed(name, argument))
        this.#tell(`kept in ${argument}`)
        return undefined
      case 'load':
        await talk.load(needed(name, argument))
        await talk.keep()
        this.#showPast()
        return undefined
      case 'model':
        return { kind: 'model', name: needed(name, argument) }
      case 'copy':
        this.#copy()
        return undefined
      default:
        throw new TypeError(`No command is called '${name}'`)
    }
  }

  async #retry(): Promise<void> {
    const question = this.#talk.undo()
    if (question === undefined) return this.#tell('there is nothing to ask again')
    this.#said(question)
    await this.#answer((answering) => this.#talk.ask(question, answering))
  }

  async #undo(): Promise<void> {
    const question = this.#talk.undo()
    await this.#talk.keep()
    if (question === undefined) this.#tell('there is nothing to take back')
    else this.#tell(`taken back: ${firstLine(question)}`)
  }

  async #system(text: string): Promise<void> {
    if (text !== '') {
      this.#talk.setSystem(text)
      await this.#talk.keep()
    }
    const [first] = this.#talk.messages()
    const now = first?.role === 'system' ? first.content : 'none'
    this.#tell(`instructions: ${now}`)
  }

  #set(argument: string): void {
    const [name = '', value = ''] = argument.split(/[\s=]+/, 2)
    if (name !== '') this.#talk.set(name, value)
    // Of one that was changed, its own line.
    const asked = name.toLowerCase().replace(/^--/, '').replaceAll('_', '-')
    for (const line of this.#talk.settings()) {
      if (asked === '' || line.startsWith(`${asked} `)) this.#tell(line)
    }
  }

  #copy(): void {
    const answer = this.#talk.messages().findLast(({ role }) => role === 'assistant')?.content
    if (answer === undefined) return this.#tell('there is no answer to copy')
    const { screen } = this.#options
    if (!screen.hasCursor) return this.#tell('this terminal has no clipboard')
    // OSC 52 copies to the clipboard. It is the only escape sequence with text of the model, in
    // base64.
    screen.write(`\x1b]52;c;${Buffer.from(answer).toString('base64')}\x07`)
    this.#tell('copied, if this terminal lets programs write to the clipboard')
  }

  async #ask(question: string): Promise<void> {
    await this.#options.onquestion?.(question)
    await this.#answer((answering) => this.#talk.ask(question, answering))
  }

  async #goOn(): Promise<void> {
    this.#said(this.#talk.unfinished() ?? '')
    await this.#answer((answering) => this.#talk.goOn(answering))
  }

  /** Shows an answer as it is generated; Ctrl-C stops it. */
  async #answer(begin: (answering: Answering) => Promise<void>): Promise<void> {
    const { answers, screen, lines, signal, clock, notes } = this.#options
    const stop = new AbortController()
    lines.onstop = () => stop.abort()
    const wrap = new WordWrap(() => answers.columns())
    let prompt: { done: number; total: number } | undefined
    const spinner = screen.hasCursor
      ? startSpinner((seconds) => waitingText(seconds, prompt), {
          write: (text) => screen.write(text),
          columns: () => screen.columns(),
          ...(clock ? { clock } : {})
        })
      : undefined
    const write = async (text: string): Promise<void> => {
      if (text === '') return
      if (answers.hasCursor) spinner?.stop()
      answers.write(answers.hasCursor ? wrap.push(terminalText(text)) : text)
    }
    const onprompt = (done: number, total: number): void => void (prompt = { done, total })
    let failure: AppError | undefined
    try {
      await begin({ write, onprompt, signal: AbortSignal.any([stop.signal, signal]) })
    } catch (thrown) {
      failure = toAppError(thrown)
    } finally {
      spinner?.stop()
      lines.onstop = undefined
    }
    if (signal.aborted) throw cancelled('The conversation was ended')
    if (failure && failure.code !== 'CANCELLED') {
      if (wrap.column > 0) answers.write('\n')
      throw failure
    }
    answers.write('\n')
    if (failure) this.#tell('stopped; /continue goes on, /retry asks again')
    for (const note of notes()) this.#tell(note)
    screen.write('\n')
  }

  /** Shows the end of the earlier conversation. */
  #showPast(): void {
    const past = this.#talk.messages().filter(({ role }) => role !== 'system')
    for (const { role, content } of past.slice(-2 * SHOWN_TURNS)) {
      if (role === 'user') this.#said(content)
      else this.#options.screen.write(`${this.#wrapped(shortened(content))}\n\n`)
    }
  }

  #said(question: string): void {
    const text = terminalText(shortened(question)).replaceAll('\n', '\n. ')
    this.#options.screen.write(`${this.#options.style.bold(`> ${text}`)}\n`)
  }

  #wrapped(text: string): string {
    const { screen } = this.#options
    const harmless = terminalText(text)
    return screen.hasCursor ? new WordWrap(() => screen.columns()).push(harmless) : harmless
  }

  #tell(text: string): void {
    this.#options.screen.write(`${this.#options.style.dim(this.#wrapped(text))}\n`)
  }
}

function needed(command: string, argument: string): string {
  if (argument !== '') return argument
  throw badInput(`/${command} needs a word behind it`, { hint: '/help lists commands' })
}

function firstLine(text: string): string {
  const [first = ''] = text.split('\n', 1)
  return first === text ? text : `${first} ...`
}

function shortened(text: string): string {
  return text.length <= SHOWN_LENGTH ? text : `... ${text.slice(-SHOWN_LENGTH)}`
}

/** What is being waited for. */
export function waitingText(
  seconds: number,
  prompt: { done: number; total: number } | undefined
): string {
  if (prompt && prompt.total >= LONG_PROMPT && prompt.done < prompt.total) {
    const percent = Math.floor((100 * prompt.done) / prompt.total)
    return `reading: ${prompt.done} of ${prompt.total} tokens, ${percent} %, ${seconds} s`
  }
  return `waiting for the answer, ${seconds} s`
}
