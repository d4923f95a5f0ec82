// Which tokens of a vocabulary speak for the model and not for a text, and which of them end an
// answer: one notion for GGUFs and hub folders, whose marks are often wrong. A token is special by
// its mark, by an id that the file names, by a text that is known, or by a form that no text of
// people has.

/** A token as a file describes it. */
export interface TokenFacts {
  readonly id: number
  readonly text: string
  /** The file says control, or special. */
  readonly isMarked: boolean
}

/** What the file names: ids that stand for BOS, the ends, and padding. */
export interface NamedIds {
  readonly bos: number | undefined
  /** All that the file says an answer ends at. */
  readonly ends: readonly number[]
  /** Padding, unknown, parts of code to fill in: control tokens that end nothing. */
  readonly others: readonly number[]
}

export interface SpecialTokens {
  /** Ids that no text of a user may become, and that no answer shows. */
  readonly special: ReadonlySet<number>
  /** Generation stops at any of these. */
  readonly ends: readonly number[]
}

/** Ends of answers that files leave unnamed, as llama.cpp has them. */
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
/** The same, of texts that people write too: only where the file marks them. */
const MARKED_ENDS: ReadonlySet<string> = new Set([
  '</s>',
  '<EOT>',
  '_<EOT>',
  '[EOT]',
  '[EOS]',
  '<eos>'
])
/** Marks of turns whose form alone does not tell them. */
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
/** `<|im_end|>`, and DeepSeek's with its own bars. */
const FORM = /^(?:<\|[^|<>\s]{1,64}\|>|<\uff5c[^\uff5c<>\s]{1,64}\uff5c>)$/u

/** Whether a token's text alone tells that it is none of a text. */
export function isSpecialText(text: string): boolean {
  return KNOWN.has(text) || FORM.test(text)
}

/** `tokens` are all that may be special: marked ones, and those whose text tells it. */
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

/** Where answers have parts, the end of a part is none of the answer. */
function isNoEnd(text: string, texts: ReadonlySet<string>): boolean {
  if (text === '</s>') return texts.has('<|tool_response>')
  if (text !== '<|end|>') return false
  return (
    (texts.has('<|return|>') && texts.has('<|call|>')) ||
    (texts.has('<|calls|>') && texts.has('<|flush|>'))
  )
}
