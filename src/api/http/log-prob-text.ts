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
  tokenizer: Pick<Tokenizer, 'decode'>
): (LogProbEntry & { readonly top_logprobs: readonly LogProbEntry[] })[] {
  const entry = ({ id, logprob }: LogProb): LogProbEntry => {
    const token = tokenizer.decode([id], { skipSpecial: false })
    return { token, logprob, bytes: [...Buffer.from(token, 'utf8')] }
  }
  return drawn.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) }))
}
