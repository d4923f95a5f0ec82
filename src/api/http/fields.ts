// Reads fields of a request's body by name and type. A body is hostile: nothing is taken unchecked.
import { RequestError } from './errors.ts'

export type Json = Readonly<Record<string, unknown>>

/** @throws RequestError when it is no object */
export function asObject(value: unknown, param: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw wrong(param, 'an object', value)
}

/** null counts as absent, as clients send it. */
export class Fields {
  readonly #body: Json
  readonly #prefix: string

  constructor(body: Json, prefix = '') {
    this.#body = body
    this.#prefix = prefix
  }

  raw(name: string): unknown {
    return this.#body[name] ?? undefined
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined
  }

  string(name: string): string | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'string') return value
    throw wrong(this.#prefix + name, 'a string', value)
  }

  boolean(name: string): boolean | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'boolean') return value
    throw wrong(this.#prefix + name, 'true or false', value)
  }

  number(name: string, low: number, high: number): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && value >= low && value <= high) return value
    throw wrong(this.#prefix + name, `a number ${between(low, high)}`, value)
  }

  integer(name: string, low: number, high: number): number | undefined {
    const value = this.number(name, low, high)
    if (value === undefined || Number.isInteger(value)) return value
    throw wrong(this.#prefix + name, `a whole number ${between(low, high)}`, value)
  }

  /** One string, or at most `most` of them. */
  strings(name: string, most: number): readonly string[] {
    const value = this.raw(name)
    if (value === undefined) return []
    const list = Array.isArray(value) ? (value as unknown[]) : [value]
    if (list.length <= most && list.every((one) => typeof one === 'string')) return list
    throw wrong(this.#prefix + name, `a string or at most ${most} strings`, value)
  }

  array(name: string, most: number): readonly unknown[] {
    const value = this.raw(name)
    if (value === undefined) return []
    if (Array.isArray(value) && value.length <= most) return value as unknown[]
    throw wrong(this.#prefix + name, `an array of at most ${most} entries`, value)
  }

  object(name: string): Fields | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    return new Fields(asObject(value, this.#prefix + name), `${this.#prefix}${name}.`)
  }

  get body(): Json {
    return this.#body
  }

  /** Refuses a field that would change the answer and is not supported. */
  refuse(name: string, why: string): void {
    if (!this.has(name)) return
    throw new RequestError(`'${this.#prefix}${name}' is not supported: ${why}`, {
      code: 'unsupported_parameter',
      param: this.#prefix + name
    })
  }
}

function wrong(param: string, what: string, value: unknown): RequestError {
  return new RequestError(`'${param}' must be ${what}, not ${shown(value)}`, {
    code: 'invalid_type',
    param
  })
}

function between(low: number, high: number): string {
  return low === high ? `that is ${low}` : `from ${low} to ${high}`
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'number') return String(value)
  if (typeof value === 'object' && value !== null) return 'an object'
  return JSON.stringify(value)?.slice(0, 60) ?? String(value)
}
