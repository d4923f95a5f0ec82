// Records of the wire: the plain fields and optional fields of one are listed once, in the order of
// their bytes, and the codec follows from the list. The layout is described in protocol.ts.
//
//   record<Hop>({ peer: key, start: block, end: block })          flags | peer | start | end
//   record<Pong>({ nonce: anyNumber, note: optional(text) })      flags | nonce | (length | note)
import { uint } from 'compact-encoding'
import { flags, framed, take, type Codec, type State } from './fields.ts'

/** A field that is there only when its bit is set in `flags`. */
interface Optional<T> {
  readonly codec: Codec<NonNullable<T>>
  /** What a reader gets when the field is absent; undefined leaves the property out. */
  readonly missing?: T | undefined
}

type Field<T> = Codec<T> | Optional<T>

/**
 * One entry for each property: plain fields in the order of bytes, optional ones in that of bits.
 */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> }

export function optional<T>(codec: Codec<T>): Optional<T | undefined> {
  return { codec: codec as Codec<NonNullable<T>> }
}

const nothing: Codec<true> = { preencode() {}, encode() {}, decode: () => true }

/** A property that is either true or absent: the field is empty, its bit says it all. */
export const mark: Optional<true | undefined> = { codec: nothing }

/** A boolean that is always there; only true has a field. */
export const flag: Optional<boolean> = { codec: nothing, missing: false }

export interface RecordOptions {
  /**
   * Where nothing may be skipped (an invite's conditions): the error for a record with unknown
   * bits. The optional fields of such a record have no length before them.
   */
  strict?: () => Error
}

interface Plan {
  readonly plain: readonly (readonly [string, Codec<unknown>])[]
  readonly optional: readonly (readonly [string, Optional<unknown>, Codec<unknown>])[]
}

type Values = Record<string, unknown>

/** `flags`, the plain fields, then each optional field that is there, with its length before it. */
export function record<T extends object>(
  fields: Fields<T>,
  { strict }: RecordOptions = {}
): Codec<T> {
  const plan = planOf(fields, strict !== undefined)
  const bitsOf = (value: Values): number =>
    plan.optional.reduce((bits, [name], bit) => bits | (isThere(value[name]) ? 1 << bit : 0), 0)
  return {
    preencode(state, value) {
      const values = value as Values
      flags.preencode(state, bitsOf(values))
      for (const [name, codec] of plan.plain) codec.preencode(state, values[name])
      for (const [name, , codec] of plan.optional) {
        if (isThere(values[name])) codec.preencode(state, values[name])
      }
    },
    encode(state, value) {
      const values = value as Values
      flags.encode(state, bitsOf(values))
      for (const [name, codec] of plan.plain) codec.encode(state, values[name])
      for (const [name, , codec] of plan.optional) {
        if (isThere(values[name])) codec.encode(state, values[name])
      }
    },
    decode(state) {
      const bits = flags.decode(state)
      if (strict && bits >>> plan.optional.length !== 0) throw strict()
      const values: Values = {}
      for (const [name, codec] of plan.plain) values[name] = codec.decode(state)
      if (strict) readStrict(state, bits, plan, values)
      else readOptional(state, bits, plan, values)
      return values as T
    }
  }
}

/** The fields one after the other and nothing else: on the hot path, or in lists of many. */
export function bare<T extends object>(fields: {
  readonly [K in keyof T]-?: Codec<T[K]>
}): Codec<T> {
  const { plain } = planOf(fields, true)
  return {
    preencode(state, value) {
      for (const [name, codec] of plain) codec.preencode(state, (value as Values)[name])
    },
    encode(state, value) {
      for (const [name, codec] of plain) codec.encode(state, (value as Values)[name])
    },
    decode(state) {
      const values: Values = {}
      for (const [name, codec] of plain) values[name] = codec.decode(state)
      return values as T
    }
  }
}

/** A version number before `inner`; `refuse` makes the error for another version. */
export function versioned<T>(
  version: number,
  inner: Codec<T>,
  refuse: (version: number) => Error
): Codec<T> {
  return {
    preencode(state, value) {
      uint.preencode(state, version)
      inner.preencode(state, value)
    },
    encode(state, value) {
      uint.encode(state, version)
      inner.encode(state, value)
    },
    decode(state) {
      const found = uint.decode(state)
      if (found !== version) throw refuse(found)
      return inner.decode(state)
    }
  }
}

/** `check` throws for what must not be sent, and for what must not be taken. */
export function checked<T>(inner: Codec<T>, check: (value: T) => void): Codec<T> {
  return {
    ...checkedWhenRead(inner, check),
    preencode(state, value) {
      inner.preencode(state, value)
      check(value)
    }
  }
}

/** `check` throws for what must not be taken; `state` stands behind what was read. */
export function checkedWhenRead<T>(
  inner: Codec<T>,
  check: (value: T, state: State) => void
): Codec<T> {
  return {
    preencode: inner.preencode,
    encode: inner.encode,
    decode(state) {
      const value = inner.decode(state)
      check(value, state)
      return value
    }
  }
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== false
}

function planOf(fields: object, isTight: boolean): Plan {
  const plain: (readonly [string, Codec<unknown>])[] = []
  const optional: (readonly [string, Optional<unknown>, Codec<unknown>])[] = []
  for (const [name, field] of Object.entries(fields) as [string, Field<unknown>][]) {
    if (!('codec' in field)) plain.push([name, field])
    else optional.push([name, field, isTight ? field.codec : framed(field.codec)])
  }
  return { plain, optional }
}

/** Fields with their length before them; those of unknown bits are skipped. */
function readOptional(state: State, bits: number, plan: Plan, values: Values): void {
  for (const [name, { missing }] of plan.optional) {
    if (missing !== undefined) values[name] = missing
  }
  for (let bit = 0; bit < 31; bit++) {
    if ((bits & (1 << bit)) === 0) continue
    const field = take(state, uint.decode(state))
    const known = plan.optional[bit]
    if (!known) continue
    const [name, { codec }] = known
    values[name] = codec.decode({ start: 0, end: field.byteLength, buffer: field })
  }
}

function readStrict(state: State, bits: number, plan: Plan, values: Values): void {
  plan.optional.forEach(([name, , codec], bit) => {
    if ((bits & (1 << bit)) !== 0) values[name] = codec.decode(state)
  })
}
