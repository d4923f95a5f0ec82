// Decides which tokens of a vocabulary are special, and which of them end an answer: the same rules
// for GGUFs and hub folders, whose marks are often wrong. A token is special by its mark, by an id
// that the file names, by a known text, or by a form that no ordinary text has.

/** A token as a file describes it. */
export interface TokenFacts {
  readonly id: number
  readonly text: string
  /** Whether the file marks it as control or special. */
  readonly isMarked: boolean
}

/** Ids that the file names: BOS, ends, and others. */
export interface NamedIds {
  readonly bos: number | undefined
  /** All ids at which an answer ends, according to the file. */
  readonly ends: readonly number[]
  /** Padding, unknown, fill-in-the-middle: control tokens that do not end an answer. */
  readonly others: readonly number[]
}

export interface SpecialTokens {
  /** Ids that a user's text must never become, and that an answer does not show. */
  readonly special: ReadonlySet<number>
  /** Generation stops at any of these. */
  readonly ends: readonly number[]
}

/** Ends of answers that files often do not name; as in llama.cpp. */
const ENDS: ReadonlySet<string> = new Set([
  '<|eot_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<|flush|>',
  '<|calls|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|eom_id|>',
  '<end_of_turn>',
  '<end_of_utterance>',
  '<turn|>',
  '<|tool_response>',
  '<\uff5cend\u2581of\u2581sentence\uff5c>',
  '[e~['
])
/** The same for texts that people also write: they count only if the file marks them. */
const MARKED_ENDS: ReadonlySet<string> = new Set([
  '</s>',
  '<EOT>',
  '_<EOT>',
  '[EOT]',
  '[EOS]',
  '<eos>'
])
/** Known marks of turns that do not have the usual form. */
const KNOWN: ReadonlySet<string> = new Set([
  '<start_of_turn>',
  '<end_of_turn>',
  '<end_of_utterance>',
  '<|turn>',
  '<turn|>',
  '<|tool_response>',
  '[e~[',
  ']~b]'
])
/** `<|im_end|>`, and DeepSeek's with full-width bars. */
const FORM = /^(?:<\|[^|<>\s]{1,64}\|>|<\uff5c[^\uff5c<>\s]{1,64}\uff5c>)$/u

/** Whether a token's text alone shows that it is special. */
export function isSpecialText(text: string): boolean {
  return KNOWN.has(text) || FORM.test(text)
}

/** `tokens` are all candidates: those that are marked, and those whose text looks special. */
export function findSpecials(tokens: readonly TokenFacts[], named: NamedIds): SpecialTokens {
  const ids = [named.bos, ...named.ends, ...named.others].filter((id) => id !== undefined)
  const special = new Set(ids)
  const ends = new Set(named.ends)
  const texts = new Set(tokens.map(({ text }) => text))
  for (const { id, text, isMarked } of tokens) {
    if (isMarked || isSpecialText(text)) special.add(id)
    if (ENDS.has(text) || (isMarked && MARKED_ENDS.has(text))) ends.add(id)
  }
  for (const { id, text } of tokens) {
    if (isNoEnd(text, texts) && !named.ends.includes(id)) ends.delete(id)
  }
  return { special, ends: [...ends] }
}

/** If answers have parts, the end of a part is not the end of the answer. */
function isNoEnd(text: string, texts: ReadonlySet<string>): boolean {
  if (text === '</s>') return texts.has('<|tool_response>')
  if (text !== '<|end|>') return false
  return (
    (texts.has('<|return|>') && texts.has('<|call|>')) ||
    (texts.has('<|calls|>') && texts.has('<|flush|>'))
  )
}
