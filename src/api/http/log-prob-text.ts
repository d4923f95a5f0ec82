// Probabilities of tokens with the tokens' texts and bytes, as chat completions tell them.
import type { DrawnLogProb, LogProb } from '../../client/text/logits.ts'
import type { Tokenizer } from '../../model/text/tokenizer.ts'

export interface LogProbEntry {
  readonly token: string
  readonly logprob: number
  readonly bytes: readonly number[]
}

export function logProbContent(
  drawn: readonly DrawnLogProb[],
  tokenizer: Pick<Tokenizer, 'stream'>
): (LogProbEntry & { readonly top_logprobs: readonly LogProbEntry[] })[] {
  const entry = ({ id, logprob }: LogProb): LogProbEntry => {
    const token = tokenText(tokenizer, id)
    return { token, logprob, bytes: [...Buffer.from(token, 'utf8')] }
  }
  return drawn.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) }))
}

/** A token's text inside a text, where a space before a word is not left out. */
export function tokenText(tokenizer: Pick<Tokenizer, 'stream'>, id: number): string {
  const stream = tokenizer.stream({ after: [id], skipSpecial: false })
  return stream.push(id) + stream.end()
}
