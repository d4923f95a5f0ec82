// The smallest parts of messages, built on compact-encoding: integers, floats, strings, keys and
// lists. Each is checked against a limit before it is read. record.ts builds records from them.
// Knows no message.
import { fixed, float32, uint } from 'compact-encoding'
import { overLimit, protocolError } from '../../base/errors.ts'

/** compact-encoding's cursor. */
export interface State {
  start: number
  end: number
  buffer: Uint8Array | null
}

/**
 * A codec as compact-encoding has it: encode expects room, decode throws an AppError or the
 * library's own error.
 */
export interface Codec<T> {
  preencode(state: State, value: T): void
  encode(state: State, value: T): void
  decode(state: State): T
}

export function bytesIn(state: State): Uint8Array {
  if (!state.buffer) throw new RangeError('A codec was used without a buffer')
  return state.buffer
}

/** A uint of at most `max`. */
export function uintUpTo(max: number, what: string): Codec<number> {
  return {
    preencode(state, value) {
      checkUint(value, max, what)
      uint.preencode(state, value)
    },
    encode: (state, value) => uint.encode(state, value),
    decode(state) {
      const value = uint.decode(state)
      if (value > max) throw overLimit(`The message is refused: ${what} is ${value}, over ${max}`)
      return value
    }
  }
}

function checkUint(value: number, max: number, what: string): void {
  if (Number.isSafeInteger(value) && value >= 0 && value <= max) return
  throw overLimit(`The message cannot be sent: ${what} is ${value}, not in 0 to ${max}`)
}

/**
 * A number that is informative only, clamped when sent: it must never make the answer fail that
 * carries it.
 */
export function roughUpTo(max: number, what: string): Codec<number> {
  const bend = (value: number): number => Math.ceil(Math.min(max, Math.max(0, value || 0)))
  return {
    preencode: (state, value) => uint.preencode(state, bend(value)),
    encode: (state, value) => uint.encode(state, bend(value)),
    decode: uintUpTo(max, what).decode
  }
}

const MAX_SINGLE = 3.4028234663852886e38

/** A number of at least 0 in single precision, clamped when sent. */
export const amount: Codec<number> = {
  preencode: (state, value) => float32.preencode(state, value),
  encode: (state, value) => float32.encode(state, Math.min(MAX_SINGLE, Math.max(0, value || 0))),
  decode(state) {
    const value = float32.decode(state)
    if (!(value >= 0 && value < Infinity)) {
      throw protocolError(`The message is refused: ${value} is no finite amount`)
    }
    return value
  }
}

/** Exactly `size` bytes, a view when decoded. */
export function fixedBytes(size: number): Codec<Uint8Array> {
  const inner = fixed(size)
  return {
    preencode(state, value) {
      if (value.byteLength !== size) {
        throw overLimit(
          `The message cannot be sent: ${value.byteLength} bytes where ${size} belong`
        )
      }
      state.end += size
    },
    encode: (state, value) => inner.encode(state, value),
    decode: (state) => inner.decode(state)
  }
}

export const key: Codec<Uint8Array> = fixedBytes(32)
export const sessionId: Codec<Uint8Array> = fixedBytes(16)

/** Up to `max` bytes with their length before them, a view when decoded. */
export function bytesUpTo(max: number, what: string): Codec<Uint8Array> {
  const length = uintUpTo(max, `the length of ${what}`)
  return {
    preencode(state, value) {
      length.preencode(state, value.byteLength)
      state.end += value.byteLength
    },
    encode(state, value) {
      uint.encode(state, value.byteLength)
      bytesIn(state).set(value, state.start)
      state.start += value.byteLength
    },
    decode: (state) => take(state, length.decode(state))
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** UTF-8 of up to `max` bytes; a longer string is cut at a character when sent. */
export function stringUpTo(max: number, what: string): Codec<string> {
  const inner = bytesUpTo(max, what)
  return {
    preencode: (state, value) => inner.preencode(state, cutText(value, max)),
    encode: (state, value) => inner.encode(state, cutText(value, max)),
    decode(state) {
      const bytes = inner.decode(state)
      try {
        return decoder.decode(bytes)
      } catch (cause) {
        throw protocolError(`The message is refused: ${what} is no UTF-8`, { cause })
      }
    }
  }
}

/**
 * Characters that a terminal would obey or would not show: newlines, escapes, marks of direction.
 */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/**
 * As stringUpTo(), for people: characters that must not reach a terminal or a log are replaced when
 * read.
 */
export function shownUpTo(max: number, what: string): Codec<string> {
  const inner = stringUpTo(max, what)
  return { ...inner, decode: (state) => inner.decode(state).replaceAll(UNSHOWN, '\uFFFD') }
}

function cutText(text: string, max: number): Uint8Array {
  const whole = encoder.encode(text)
  if (whole.byteLength <= max) return whole
  let end = max
  while (end > 0 && ((whole[end] ?? 0) & 0xc0) === 0x80) end--
  return whole.subarray(0, end)
}

/**
 * Up to `max` items; each takes at least a byte, so a count cannot promise more than the bytes
 * hold.
 */
export function listUpTo<T>(max: number, item: Codec<T>, what: string): Codec<readonly T[]> {
  const count = uintUpTo(max, `the number of ${what}`)
  return {
    preencode(state, values) {
      count.preencode(state, values.length)
      for (const value of values) item.preencode(state, value)
    },
    encode(state, values) {
      uint.encode(state, values.length)
      for (const value of values) item.encode(state, value)
    },
    decode(state) {
      const values: T[] = []
      for (let left = count.decode(state); left > 0; left--) values.push(item.decode(state))
      return values
    }
  }
}

/** `inner` under another type: `send` turns a value into what is written, `read` turns it back. */
export function mapped<A, B>(
  inner: Codec<B>,
  send: (value: A) => B,
  read: (value: B) => A
): Codec<A> {
  return {
    preencode: (state, value) => inner.preencode(state, send(value)),
    encode: (state, value) => inner.encode(state, send(value)),
    decode: (state) => read(inner.decode(state))
  }
}

/** One of `names` by its index; `unknown` makes the error for an index without a name. */
export function oneOf<T>(
  names: readonly T[],
  what: string,
  unknown: (number: number) => Error
): Codec<T> {
  return mapped(
    uintUpTo(Number.MAX_SAFE_INTEGER, what),
    (name) => names.indexOf(name),
    (number) => {
      const name = names[number]
      if (name === undefined) throw unknown(number)
      return name
    }
  )
}

/** `item` with its length before it, so that fields which a later version appends are skipped. */
export function framed<T>(item: Codec<T>): Codec<T> {
  return {
    preencode(state, value) {
      const size = sizeOf(item, value)
      uint.preencode(state, size)
      state.end += size
    },
    encode(state, value) {
      uint.encode(state, sizeOf(item, value))
      item.encode(state, value)
    },
    decode(state) {
      const bytes = take(state, uint.decode(state))
      return item.decode({ start: 0, end: bytes.byteLength, buffer: bytes })
    }
  }
}

export const anyNumber: Codec<number> = uintUpTo(Number.MAX_SAFE_INTEGER, 'a number')

export const flags: Codec<number> = uintUpTo(2 ** 31 - 1, 'the flags')

export function sizeOf<T>(codec: Codec<T>, value: T): number {
  const state: State = { start: 0, end: 0, buffer: null }
  codec.preencode(state, value)
  return state.end
}

/** The next `length` bytes as a view. */
export function take(state: State, length: number): Uint8Array {
  if (length > state.end - state.start) {
    throw protocolError(
      `The message is cut short: ${length} bytes are announced, ${state.end - state.start} follow`
    )
  }
  return bytesIn(state).subarray(state.start, (state.start += length))
}
