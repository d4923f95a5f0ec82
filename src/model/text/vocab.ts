// Small parts of every tokenizer description. Knows no sources.

/** An entry of `added_tokens`. */
export interface AddedTokenJson {
  id: number
  content: string
  special: boolean
  normalized: boolean
}

export function addedToken(id: number, content: string, special: boolean): AddedTokenJson {
  return { id, content, special, normalized: false }
}

/** Token text to id. Of two equal texts the first wins; a text like '__proto__' is safe. */
export function vocabOf(tokens: readonly string[]): Record<string, number> {
  const vocab = Object.create(null) as Record<string, number>
  for (const [id, token] of tokens.entries()) vocab[token] ??= id
  return vocab
}
