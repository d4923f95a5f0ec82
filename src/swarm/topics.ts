// Where servers of a model's blocks meet in the DHT: one topic for each cell of a fixed grid over
// the blocks. A server announces every cell that its span touches, a client looks up all cells and
// takes exact spans from the servers' records. Who looks for a model's weights finds its servers by
// a word for it, which has a topic, too. Pure; knows no network.
import type { BlockSpan } from '../base/block-span.ts'
import { crypto_generichash } from 'sodium-universal'
import { PROTOCOL_NAME } from '../wire/protocol.ts'

/** Blocks [start, end). */
export interface Cell extends BlockSpan {}

/** Look-ups that finding a whole model may cost. */
const MAX_CELLS = 8
/** Below this a cell saves nobody anything: spans are rarely shorter. */
const MIN_CELL = 4
/** Part of the hashed text: another layout of topics is another number. */
const TOPICS_VERSION = 1
const WORDS_VERSION = 'word-1'
const MODELS_VERSION = 'models-1'
const NO_SECRET = new Uint8Array(32)

/** Blocks of a cell: the least power of two from 4 on that makes at most 8 cells of the model. */
export function cellSize(blockCount: number): number {
  let size = MIN_CELL
  while (size * MAX_CELLS < blockCount) size *= 2
  return size
}

/** The cells that blocks [start, end) touch, in order; the last one may be short. */
export function cellsOf(start: number, end: number, blockCount: number): readonly Cell[] {
  if (!(start >= 0 && start < end && end <= blockCount)) {
    throw new RangeError(`Blocks ${start}:${end} are no span of ${blockCount}`)
  }
  const size = cellSize(blockCount)
  const cells: Cell[] = []
  for (let begin = start - (start % size); begin < end; begin += size) {
    cells.push({ start: begin, end: Math.min(begin + size, blockCount) })
  }
  return cells
}

/**
 * A cell's topic, 32 bytes: BLAKE2b-256 keyed by the swarm's secret (32 zeros for an open swarm) of
 * protocol name, version of this layout, model's content id and the cell's bounds as uint32.
 */
export function topicOf(model: Uint8Array, cell: Cell, secret: Uint8Array = NO_SECRET): Uint8Array {
  if (model.byteLength !== 32 || secret.byteLength !== 32) {
    throw new RangeError('A content id and a swarm secret have 32 bytes each')
  }
  const numbers = Buffer.alloc(9)
  numbers.writeUInt8(TOPICS_VERSION, 0)
  numbers.writeUInt32LE(cell.start, 1)
  numbers.writeUInt32LE(cell.end, 5)
  const topic = Buffer.alloc(32)
  const text = Buffer.concat([Buffer.from(PROTOCOL_NAME), numbers, model])
  crypto_generichash(topic, text, Buffer.from(secret))
  return topic
}

/**
 * Where servers of a model are found by a word for it (its content id in hex, a hub's name, the
 * hash of a file): BLAKE2b-256 keyed as topicOf, of protocol name, this layout's number and the
 * word.
 */
export function wordTopic(word: string, secret: Uint8Array = NO_SECRET): Uint8Array {
  return textTopic(`${WORDS_VERSION}\n${word}`, secret)
}

/** Where all servers of a swarm announce, whatever they serve: who looks there sees its models. */
export function modelsTopic(secret: Uint8Array = NO_SECRET): Uint8Array {
  return textTopic(MODELS_VERSION, secret)
}

function textTopic(words: string, secret: Uint8Array): Uint8Array {
  if (secret.byteLength !== 32) throw new RangeError('A swarm secret has 32 bytes')
  const topic = Buffer.alloc(32)
  crypto_generichash(topic, Buffer.from(`${PROTOCOL_NAME}\n${words}`), Buffer.from(secret))
  return topic
}
