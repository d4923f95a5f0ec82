// Asks drafters for guesses: those that cost nothing always, so that they can be judged even if
// their guesses are not sent, and one with a cost only if it promises more. Called by generate.ts.
// Knows no swarm.
import { cutDraft, type Drafter } from './draft.ts'
import type { Guess, Speculation } from './speculate.ts'

export interface GuessOptions {
  drafters: readonly Drafter[]
  speculation: Speculation
  /** Ids so far. */
  text: readonly number[]
  /** Most guesses to send. */
  most: number
  /** Ids that end a text. */
  stops: ReadonlySet<number>
  signal: AbortSignal | undefined
}

export interface Guessed {
  /** Every guess that was made. */
  readonly guesses: readonly Guess[]
  /** Guesses to send, all from one drafter. */
  readonly ids: readonly number[]
  /** Name of that drafter; undefined if nothing is sent. */
  readonly source: string | undefined
}

export async function guess(options: GuessOptions): Promise<Guessed> {
  const { drafters, speculation, text, most, stops, signal } = options
  const guesses: Guess[] = []
  const ask = async (source: Drafter, length: number): Promise<Guess> => {
    const draft = cutDraft(await source.draft(text, length, signal), length, stops)
    guesses.push({ source, draft })
    return { source, draft }
  }
  let ids: readonly number[] = []
  let name: string | undefined
  if (most <= 0) return { guesses, ids, source: name }
  let rate = 0
  let dear: { source: Drafter; length: number } | undefined
  for (const source of drafters) {
    const draft = source.guessMs === 0 ? (await ask(source, most)).draft : undefined
    const offered = draft?.ids.length ?? most
    const choice = speculation.choose(source, draft?.matched ?? 0, offered)
    if (choice.length === 0 || choice.rate <= rate) continue
    rate = choice.rate
    if (draft) {
      ids = draft.ids.slice(0, choice.length)
      name = source.name
    }
    dear = draft ? undefined : { source, length: choice.length }
  }
  if (!dear) return { guesses, ids, source: name }
  const { draft } = await ask(dear.source, dear.length)
  if (draft.ids.length === 0) return { guesses, ids, source: name }
  return { guesses, ids: draft.ids, source: dear.source.name }
}
