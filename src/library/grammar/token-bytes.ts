// The bytes that each token stands for, by the way the vocabulary writes them. Knows no grammar.
import type { TokenizerSpec } from '../../model/types.ts'
import { addedTokens } from '../../model/text/library.ts'

/** Of byte-level vocabularies: the byte that each character stands for, as GPT-2 has it. */
function byteLevelTable(): Map<string, number> {
  const table = new Map<string, number>()
  let next = 256
  for (let byte = 0; byte < 256; byte++) {
    const isPrinted =
      (byte >= 0x21 && byte <= 0x7e) ||
      (byte >= 0xa1 && byte <= 0xac) ||
      (byte >= 0xae && byte <= 0xff)
    table.set(String.fromCodePoint(isPrinted ? byte : next), byte)
    if (!isPrinted) next++
  }
  return table
}

/**
 * Bytes by id; undefined for special tokens, which stand for no text, and for ids without a token.
 * @param vocabSize ids of the model, of which some may have no token
 */
export function tokenBytes(
  { json, eosIds }: Pick<TokenizerSpec, 'json' | 'eosIds'>,
  vocabSize: number
): (Uint8Array | undefined)[] {
  const bytes = Array.from({ length: vocabSize }, (): Uint8Array | undefined => undefined)
  const isByteLevel = hasPart((json as { decoder?: unknown }).decoder, 'ByteLevel')
  const decode = isByteLevel ? byteLevelDecoder() : spaceDecoder
  for (const [text, id] of vocabulary(json)) if (id < vocabSize) bytes[id] = decode(text)
  for (const { id, content, special } of addedTokens(json)) {
    if (id < vocabSize) bytes[id] = special ? undefined : Buffer.from(content, 'utf8')
  }
  for (const id of eosIds) bytes[id] = undefined
  return bytes
}

function byteLevelDecoder(): (text: string) => Uint8Array | undefined {
  const table = byteLevelTable()
  return (text) => {
    const bytes: number[] = []
    for (const character of text) {
      const byte = table.get(character)
      if (byte === undefined) return undefined
      bytes.push(byte)
    }
    return Uint8Array.from(bytes)
  }
}

/** SentencePiece: U+2581 is a space, <0xNN> a byte. */
function spaceDecoder(text: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1]
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16))
  return Buffer.from(text.replaceAll('\u2581', ' '), 'utf8')
}

/** Texts with their ids, whatever the vocabulary's form. */
function vocabulary(json: object): [string, number][] {
  const { model } = json as { model?: { vocab?: unknown } | null }
  const vocab = model?.vocab ?? {}
  if (!Array.isArray(vocab)) return Object.entries(vocab as Record<string, number>)
  return vocab.map((entry: unknown, id) => [String(Array.isArray(entry) ? entry[0] : entry), id])
}

/** Whether a decoder is of this type, or a sequence that has one. */
function hasPart(decoder: unknown, type: string): boolean {
  if (typeof decoder !== 'object' || decoder === null) return false
  const { type: own, decoders } = decoder as { type?: unknown; decoders?: unknown }
  return own === type || (Array.isArray(decoders) && decoders.some((one) => hasPart(one, type)))
}
