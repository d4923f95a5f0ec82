// Typed access to a GGUF header's metadata: undefined if absent, an error if the type is wrong.
// Writers differ: instead of a number there may be a list of equal ones, and a flag may be 0 or 1.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { GgufHeader, GgufValue } from './gguf-header.ts'

/** Longest list that stands for one number; models have up to 126 blocks. */
const MAX_EQUALS = 4096

export class Metadata {
  readonly #header: GgufHeader

  constructor(header: GgufHeader) {
    this.#header = header
  }

  keys(): string[] {
    return [...this.#header.metadata.keys()]
  }

  value(key: string): GgufValue | undefined {
    return this.#header.metadata.get(key)
  }

  /** @throws AppError CORRUPT, or UNSUPPORTED for a list of different numbers */
  number(key: string): number | undefined {
    const value = this.value(key)
    if (value === undefined || typeof value === 'number') return value
    if (typeof value !== 'object') throw corrupt(`The GGUF cannot be opened: '${key}' is no number`)
    const list = value.count <= MAX_EQUALS ? value.numbers() : []
    const [first] = list
    if (first === undefined) throw corrupt(`The GGUF cannot be opened: '${key}' is no number`)
    if (list.every((each) => each === first)) return first
    throw unsupported(
      `The model cannot be run: '${key}' is not one number but several (${list.slice(0, 4).join(', ')} ...)`
    )
  }

  string(key: string): string | undefined {
    const value = this.value(key)
    if (value === undefined || typeof value === 'string') return value
    throw corrupt(`The GGUF cannot be opened: '${key}' is no string`)
  }

  flag(key: string): boolean | undefined {
    const value = this.value(key)
    if (value === undefined || typeof value === 'boolean') return value
    if (value === 0 || value === 1) return value === 1
    throw corrupt(`The GGUF cannot be opened: '${key}' is no flag`)
  }

  /** Length of a list; undefined if there is none. */
  count(key: string): number | undefined {
    const value = this.value(key)
    if (value === undefined) return undefined
    if (typeof value === 'object') return value.count
    throw corrupt(`The GGUF cannot be opened: '${key}' is no list`)
  }

  strings(key: string): string[] | undefined {
    const value = this.value(key)
    if (value === undefined) return undefined
    if (typeof value === 'object') return value.strings()
    throw corrupt(`The GGUF cannot be opened: '${key}' is no list`)
  }

  /** The numbers of a list, or of a single number. */
  numbers(key: string): number[] | undefined {
    const value = this.value(key)
    if (value === undefined) return undefined
    if (typeof value === 'object') return value.numbers()
    if (typeof value === 'number') return [value]
    throw corrupt(`The GGUF cannot be opened: '${key}' is no list`)
  }
}
