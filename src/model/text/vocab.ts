// Small parts that every tokenizer description is made of.
// Knows no sources.

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

/**
 * Token text to id; the first of two equal texts wins, and no text is taken for a prototype's name.
 */
export function vocabOf(tokens: readonly string[]): Record<string, number> {
  const vocab = Object.create(null) as Record<string, number>
  for (const [id, token] of tokens.entries()) vocab[token] ??= id
  return vocab
}
