// What the beginnings of a session are called at servers that may keep their KV: labels made of
// token ids, so that a new process, which has none of the rows that later spans were sent, can ask
// for them. Pure; knows no servers and no wire beyond a mark.
//
// What a label stands for must fix every bit of the KV behind it, or the text would not be that of
// an undisturbed run. So it covers the model, the ids, how rows travel (f16 rounds them), the
// blocks, and the servers before it with what they hold their blocks in: int8 sends other rows than
// f32, another processor may round otherwise, and a server that lies must not spoil what chats
// without it find. That costs little: where a server is new, it and all before it run the whole
// text anyway, at the same time as those behind. A server could instead name the rows it really
// got; but then nothing could be asked for in advance, since a client learns these names only from
// the rows.
//
// Labels are keyed with a secret of the client's, so a label is a capability: who does not know the
// secret cannot ask for what it names, whatever the text, and no two servers see the same label. A
// published prompt is keyed with its maker's public key instead; servers bind such labels to who
// put them there (protocol.ts), so others can find it and nobody else can make it.
import { crypto_generichash } from 'sodium-universal'
import type { Hop as WireHop, PrefixMark, WireDtype } from '../../wire/types.ts'
import type { RouteHop } from '../route/route.ts'

export interface PrefixNamesOptions {
  /** 32 bytes: a secret, or the maker's public key for what is published. */
  key: Uint8Array
  /** The model's content id. */
  model: Uint8Array
  dtype: WireDtype
}

/** One span's place in a route. */
export interface Place extends WireHop {
  /** What came before it; see lineageOf. */
  readonly lineage: string
}

/** Layout of what is hashed: another one is another number. */
const VERSION = 'petals prefix 1'
const LABEL_BYTES = 16
/** Below this a trip to ask for it saves nothing. */
export const LEAST = 16
/** Ends of answers that are asked for: with all named lengths they stay below the wire's limit. */
const MOST_ENDS = 32
/** Of a prompt, this many of the last lengths. */
const TAIL = 3
/** From here on lengths with a name lie further apart, 16 of them to a doubling. */
const FINE = 512

/** How far apart lengths with a name lie at `length`: at most a sixteenth of it is lost. */
function stepAt(length: number): number {
  let step = LEAST
  for (let end = FINE; end < length; end *= 2) step *= 2
  return step
}

/** Lengths that have a name, up to `most`, from short to long: 208 up to a million tokens. */
export function namedLengths(most: number): number[] {
  const lengths: number[] = []
  for (let at = LEAST; at <= most; at += stepAt(at + 1)) lengths.push(at)
  return lengths
}

/** A server's part of a route, as the rows behind it depend on it. */
export interface RoundingHop extends RouteHop {
  /** How it rounds; see roundingOf(). */
  readonly rounding: string
}

/** What rows come from: the spans that they went through. */
export function lineageOf(spans: readonly RoundingHop[]): string {
  return spans
    .map(({ peer, start, end, rounding }) => `${start}:${end} ${rounding} ${peer}`)
    .join(', ')
}

/** Names of a text's beginnings; the text grows and is cut as the session's is. */
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

  /** Writes ids at `start`, forgetting what stood there and after. */
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

  /** Marks of named lengths in (over, most], from short to long. */
  marks(place: Place, over: number, most: number): PrefixMark[] {
    const lengths = namedLengths(Math.min(most, this.#ids.length)).filter((one) => one > over)
    return lengths.map((length) => this.mark(place, length))
  }

  /**
   * Lengths that an earlier session may have ended at: where an answer ends in a conversation (what
   * stopped it was never fed), and, of a prompt that is given again, at its end. From short to
   * long.
   */
  ends(stops: ReadonlySet<number>): number[] {
    const lengths: number[] = []
    const most = this.#ids.length
    for (let at = most; at >= LEAST && lengths.length < MOST_ENDS; at--) {
      if (at > most - TAIL || stops.has(this.#ids[at] ?? -1)) lengths.push(at)
    }
    return lengths.reverse()
  }

  /** The mark of any length; @throws RangeError over the text's. */
  mark(place: Place, length: number): PrefixMark {
    const { peer, start, end, lineage } = place
    const label = this.#hash(this.#upTo(length), peer, numbers([start, end]), lineage)
    return { length, label: label.subarray(0, LABEL_BYTES) }
  }

  /** Hash of the first `length` ids, each named length's made of the one before it. */
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

/** Each part with its length before it, so that no two lists of parts read the same. */
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
