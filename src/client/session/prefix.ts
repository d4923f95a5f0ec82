// Names of a session's prefixes at servers that may keep their KV: labels made from token ids, so
// that a new process, which does not have the rows that later spans received, can ask for them.
// Pure; knows no servers, and of the wire only marks.
//
// A label must determine every bit of the KV it stands for, or the text would not be that of an
// uninterrupted run. So it covers the model, the ids, the type in which rows travel (f16 rounds
// them), the blocks, and the servers before it with their quantisation: int8 sends other rows than
// f32, another processor may round differently, and a lying server must not spoil chats that do not
// use it. That costs little: where a server is new, it and all servers before it run the whole text
// anyway, at the same time as those after it. A server could instead name the rows it actually
// received, but then nothing could be asked for in advance, since a client learns such names only
// from the rows.
//
// Labels are keyed with a secret of the client, so a label is a capability: without the secret
// nobody can ask for what it names, whatever the text, and no two servers see the same label. A
// published prompt is keyed with its maker's public key instead. Servers bind such labels to
// whoever put them there (protocol.ts), so others can find the prompt and nobody else can forge it.
import { crypto_generichash } from 'sodium-universal'
import type { Hop as WireHop, PrefixMark, WireDtype } from '../../wire/types.ts'
import type { RouteHop } from '../route/route.ts'

export interface PrefixNamesOptions {
  /** 32 bytes: a secret, or for a published prompt its maker's public key. */
  key: Uint8Array
  /** Content id of the model. */
  model: Uint8Array
  dtype: WireDtype
}

/** One span's place in a route. */
export interface Place extends WireHop {
  /** What its rows have passed through; see lineageOf. */
  readonly lineage: string
}

/** Version of the layout of what is hashed. */
const VERSION = 'petals prefix 1'
const LABEL_BYTES = 16
/** Asking for a shorter prefix saves nothing. */
export const LEAST = 16
/**
 * Most ends of answers that are asked for; together with all named lengths they stay below the
 * wire's limit.
 */
const MOST_ENDS = 32
/** Number of a prompt's last lengths that are asked for. */
const TAIL = 3
/** From here on named lengths lie further apart, 16 of them per doubling. */
const FINE = 512

/** Distance between named lengths at `length`: at most a sixteenth is lost. */
function stepAt(length: number): number {
  let step = LEAST
  for (let end = FINE; end < length; end *= 2) step *= 2
  return step
}

/** Lengths that have a name, up to `most`, in ascending order: 208 up to a million tokens. */
export function namedLengths(most: number): number[] {
  const lengths: number[] = []
  for (let at = LEAST; at <= most; at += stepAt(at + 1)) lengths.push(at)
  return lengths
}

/** A server's part of a route, as far as the rows after it depend on it. */
export interface RoundingHop extends RouteHop {
  /** How it rounds; see roundingOf(). */
  readonly rounding: string
}

/** What rows come from: the spans that they have passed through. */
export function lineageOf(spans: readonly RoundingHop[]): string {
  return spans
    .map(({ peer, start, end, rounding }) => `${start}:${end} ${rounding} ${peer}`)
    .join(', ')
}

/** Names of a text's prefixes. The text grows and is cut as the session is. */
export class PrefixNames {
  readonly #key: Buffer
  readonly #ids: number[] = []
  /** Hash of the ids up to each of #lengths; the first is of none. */
  readonly #hashes: Uint8Array[]
  readonly #lengths: number[] = [0]

  constructor(options: PrefixNamesOptions) {
    this.#key = Buffer.from(options.key)
    this.#hashes = [this.#hash(VERSION, options.model, options.dtype)]
  }

  get length(): number {
    return this.#ids.length
  }

  /** Writes ids at `start` and drops everything after them. */
  write(start: number, ids: readonly number[]): void {
    if (start > this.#ids.length) {
      throw new RangeError(`Names of ${this.#ids.length} ids cannot go on at ${start}`)
    }
    this.truncate(start)
    for (const id of ids) this.#ids.push(id)
  }

  truncate(length: number): void {
    if (length < this.#ids.length) this.#ids.length = length
    while ((this.#lengths.at(-1) ?? 0) > length) {
      this.#lengths.pop()
      this.#hashes.pop()
    }
  }

  /** Marks of named lengths in (over, most], in ascending order. */
  marks(place: Place, over: number, most: number): PrefixMark[] {
    const lengths = namedLengths(Math.min(most, this.#ids.length)).filter((one) => one > over)
    return lengths.map((length) => this.mark(place, length))
  }

  /**
   * Lengths at which an earlier session may have ended: where an answer ends in a conversation (the
   * stop token was never fed), and the end of a prompt that is given again. In ascending order.
   */
  ends(stops: ReadonlySet<number>): number[] {
    const lengths: number[] = []
    const most = this.#ids.length
    for (let at = most; at >= LEAST && lengths.length < MOST_ENDS; at--) {
      if (at > most - TAIL || stops.has(this.#ids[at] ?? -1)) lengths.push(at)
    }
    return lengths.reverse()
  }

  /** The mark of any length. @throws RangeError if it exceeds the text */
  mark(place: Place, length: number): PrefixMark {
    const { peer, start, end, lineage } = place
    const label = this.#hash(this.#upTo(length), peer, numbers([start, end]), lineage)
    return { length, label: label.subarray(0, LABEL_BYTES) }
  }

  /** Hash of the first `length` ids; each named length's hash is made from the one before it. */
  #upTo(length: number): Uint8Array {
    if (length > this.#ids.length) {
      throw new RangeError(`No name for ${length} of ${this.#ids.length} ids`)
    }
    let at = this.#lengths.at(-1) ?? 0
    for (let next = at + stepAt(at + 1); next <= length; next += stepAt(next + 1)) {
      this.#hashes.push(this.#chunk(this.#hashes.at(-1), at, next))
      this.#lengths.push(next)
      at = next
    }
    let known = this.#lengths.length - 1
    while ((this.#lengths[known] ?? 0) > length) known--
    const from = this.#lengths[known] ?? 0
    const hash = this.#hashes[known] ?? new Uint8Array(0)
    return from === length ? hash : this.#chunk(hash, from, length)
  }

  #chunk(before: Uint8Array | undefined, from: number, to: number): Uint8Array {
    return this.#hash(before ?? '', numbers(this.#ids.slice(from, to)))
  }

  #hash(...parts: readonly (Uint8Array | string)[]): Uint8Array {
    return keyedHash(this.#key, parts)
  }
}

/** Each part is preceded by its length, so that no two lists of parts have the same encoding. */
function keyedHash(key: Buffer, parts: readonly (Uint8Array | string)[]): Uint8Array {
  const pieces = parts.flatMap((part) => {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    return [numbers([bytes.byteLength]), bytes]
  })
  const hash = Buffer.alloc(32)
  crypto_generichash(hash, Buffer.concat(pieces), key)
  return new Uint8Array(hash)
}

function numbers(values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, i * 4)
  return bytes
}
