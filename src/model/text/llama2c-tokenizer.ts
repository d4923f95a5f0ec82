// Reads llama2.c's tokenizer.bin: the length of the longest token, then score, length and bytes of
// each. It is a SentencePiece vocabulary with plain spaces.
import { corrupt } from '../../base/errors.ts'
import { openMappedFile } from '../formats/mapped-file.ts'
import { sentencePieceJson } from './sentencepiece.ts'
import type { TokenizerSpec } from '../types.ts'
import { addedToken } from './vocab.ts'

const MAX_PIECE_BYTES = 1024 // the exporter's longest is 27

const UNK = 0
const BOS = 1
const EOS = 2
/** Unknown, BOS, EOS and the 256 bytes come before ordinary tokens. */
const FIRST_PIECE = 259
/** The format fixes the first ids; the file writes BOS as a newline, `<s>`, a newline. */
const FIXED: readonly string[] = ['<unk>', '<s>', '</s>']

/** @throws AppError NOT_FOUND, CORRUPT */
export function llama2cTokenizer(path: string, vocabSize: number): TokenizerSpec {
  const { tokens, scores } = readPieces(path, vocabSize)
  for (const [id, token] of FIXED.entries()) tokens[id] = token
  const apart = new Set(tokens.slice(0, FIRST_PIECE).keys())
  return {
    json: {
      version: '1.0',
      added_tokens: FIXED.map((content, id) => addedToken(id, content, true)),
      post_processor: null,
      ...sentencePieceJson({ tokens, scores, addPrefix: true, unk: FIXED[UNK], apart })
    },
    config: { clean_up_tokenization_spaces: false },
    bosId: BOS,
    eosIds: [EOS, BOS], // llama2.c ends at BOS too: it parts the stories of the training text
    addBos: true
  }
}

function readPieces(path: string, count: number): { tokens: string[]; scores: number[] } {
  const file = openMappedFile(path)
  try {
    const bad = (why: string): Error => corrupt(`'${path}' is no llama2.c tokenizer: ${why}`)
    if (file.sizeBytes < 4 + count * 8) throw bad(`it is too short for ${count} pieces`)
    if (file.sizeBytes > 4 + count * (8 + MAX_PIECE_BYTES)) throw bad('it is too long')
    const bytes = file.bytes(0, file.sizeBytes)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    const tokens: string[] = []
    const scores: number[] = []
    let at = 4
    for (let id = 0; id < count; id++) {
      if (at + 8 > bytes.byteLength) throw bad(`it ends in piece ${id}`)
      const score = view.getFloat32(at, true)
      const length = view.getInt32(at + 4, true)
      at += 8
      if (length < 0 || length > MAX_PIECE_BYTES || at + length > bytes.byteLength) {
        throw bad(`piece ${id} has a length of ${length}`)
      }
      if (Number.isNaN(score)) throw bad(`piece ${id} has no score`)
      scores.push(score)
      tokens.push(decoder.decode(bytes.subarray(at, at + length)).replaceAll(' ', '\u2581'))
      at += length
    }
    if (at !== bytes.byteLength) throw bad(`${bytes.byteLength - at} bytes follow the last piece`)
    return { tokens, scores }
  } finally {
    file.close()
  }
}
