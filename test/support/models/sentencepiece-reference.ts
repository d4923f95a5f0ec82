// SentencePiece's BPE as llama2.c writes it, slow and plain: join the neighbours of the best score,
// leftmost first, until none can be joined; what is no piece becomes bytes.
import { readFileSync } from 'node:fs'

export interface Pieces {
  scores: Map<string, { id: number; score: number }>
}

export function readPieces(path: string): Pieces {
  const file = readFileSync(path)
  const scores: Pieces['scores'] = new Map()
  for (let at = 4, id = 0; at < file.byteLength; id++) {
    const length = file.readInt32LE(at + 4)
    const text = file.subarray(at + 8, at + 8 + length).toString()
    if (id >= 259) scores.set(text, { id, score: file.readFloatLE(at) })
    at += 8 + length
  }
  return { scores }
}

export function encodeReference({ scores }: Pieces, text: string): number[] {
  if (text === '') return []
  const parts = Array.from(` ${text}`)
  for (;;) {
    let best = -1
    let bestScore = -Infinity
    for (let i = 0; i + 1 < parts.length; i++) {
      const found = scores.get(parts[i]! + parts[i + 1]!)
      if (found && found.score > bestScore) [best, bestScore] = [i, found.score]
    }
    if (best < 0) break
    parts.splice(best, 2, parts[best]! + parts[best + 1]!)
  }
  return parts.flatMap((part) => {
    const found = scores.get(part)
    return found ? [found.id] : [...Buffer.from(part)].map((byte) => byte + 3)
  })
}
